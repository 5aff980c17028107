"""The checks of a wallet before it signs."""

from __future__ import annotations

import base64
import binascii

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import Transaction

from zmartd.errors import ZmartdError

COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")


class UnexpectedTransaction(ZmartdError):
    """The API built another transaction than the wallet asked for, so the wallet does not sign it."""

    code = "unexpected_transaction"


def sign_call(unsigned: str, wallet: Keypair, program_id: Pubkey) -> str:
    """Sign a transaction; both are base64.

    Raises UnexpectedTransaction unless the wallet is its payer and only signer, and it calls this program
    once and otherwise only sets its compute budget.
    """
    try:
        message = Transaction.from_bytes(base64.b64decode(unsigned, validate=True)).message
    except (binascii.Error, ValueError) as error:
        raise UnexpectedTransaction("this is not a transaction in base64") from error
    if message.header.num_required_signatures != 1 or message.account_keys[0] != wallet.pubkey():
        raise UnexpectedTransaction(f"{wallet.pubkey()} is not the payer and only signer of this transaction")
    programs = [message.account_keys[call.program_id_index] for call in message.instructions]
    if programs.count(program_id) != 1 or not set(programs) <= {program_id, COMPUTE_BUDGET}:
        raise UnexpectedTransaction(f"this transaction calls {', '.join(map(str, programs)) or 'nothing'}")
    signed = Transaction([wallet], message, message.recent_blockhash)
    return base64.b64encode(bytes(signed)).decode()
