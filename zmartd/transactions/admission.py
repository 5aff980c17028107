"""Which signed transactions the daemon relays: those signed by the caller alone, for our program only."""

from __future__ import annotations

import base64
import binascii

from msgspec import Struct
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from zmartd.chain.assemble import MAX_TRANSACTION_BYTES
from zmartd.chain.discriminators import discriminator
from zmartd.chain.interface import INTERFACE
from zmartd.errors import ZmartdError

_RESOLVE = discriminator("global", "resolve_market")
_RESOLVED_MARKET = INTERFACE["resolve_market"].accounts.index("market")
COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")

_MAX_BASE64_CHARACTERS = (MAX_TRANSACTION_BYTES + 2) // 3 * 4


class TransactionRefused(ZmartdError):
    """This transaction is not one that the daemon passes on."""

    code = "transaction_refused"


class AdmittedTransaction(Struct, frozen=True):
    """A transaction that may be relayed: its signature and its signer in base58, and its exact bytes.

    `resolved_markets` are the addresses of the markets whose outcome it proposes. Who may do that is checked
    by the caller.
    """

    signature: str
    wallet: str
    wire: bytes
    resolved_markets: tuple[str, ...]


class Admission:
    """Decides which transactions for the program `program_id` are relayed."""

    def __init__(self, program_id: Pubkey) -> None:
        self._program_id = program_id

    def admit(self, encoded: str, wallet: str) -> AdmittedTransaction:
        """Decode a transaction from base64 and check that `wallet` pays for it and is its only signer.

        Raises TransactionRefused, which names the rule that it breaks.
        """
        wire = _decode(encoded)
        transaction = _parse(wire)
        message = transaction.message
        if message.header.num_required_signatures != 1 or len(transaction.signatures) != 1:
            raise TransactionRefused(
                "The transaction must need exactly one signature, that of its fee payer."
            )
        if message.account_keys[0] != Pubkey.from_string(wallet):
            raise TransactionRefused(
                f"The fee payer must be the signed-in wallet, {wallet}, not {message.account_keys[0]}."
            )
        if isinstance(message, MessageV0) and message.address_table_lookups:
            raise TransactionRefused("The transaction must name its accounts itself, without lookup tables.")
        self._check_programs(message.account_keys, [ix.program_id_index for ix in message.instructions])
        if not all(transaction.verify_with_results()):
            raise TransactionRefused("The signature is not that of the fee payer over these bytes.")
        return AdmittedTransaction(
            str(transaction.signatures[0]), wallet, wire, self._resolved_markets(message)
        )

    def _resolved_markets(self, message: Message | MessageV0) -> tuple[str, ...]:
        """The markets in its resolve_market instructions. One that names no market fails on the chain."""
        accounts = message.account_keys
        return tuple(
            str(accounts[instruction.accounts[_RESOLVED_MARKET]])
            for instruction in message.instructions
            if accounts[instruction.program_id_index] == self._program_id
            and bytes(instruction.data).startswith(_RESOLVE)
            and len(instruction.accounts) > _RESOLVED_MARKET
        )

    def _check_programs(self, accounts: list[Pubkey], program_indexes: list[int]) -> None:
        programs = {accounts[index] for index in program_indexes}
        if self._program_id not in programs:
            raise TransactionRefused(f"The transaction must have an instruction for {self._program_id}.")
        foreign = programs - {self._program_id, COMPUTE_BUDGET}
        if foreign:
            raise TransactionRefused(
                f"Only instructions for {self._program_id} and the compute budget are passed on, "
                f"not for {min(map(str, foreign))}; send this transaction to the network yourself."
            )


def _decode(encoded: str) -> bytes:
    if len(encoded) > _MAX_BASE64_CHARACTERS:
        raise TransactionRefused(f"The transaction has more than {MAX_TRANSACTION_BYTES} bytes.")
    try:
        wire = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TransactionRefused("The transaction must be the base64 of its bytes.") from error
    if len(wire) > MAX_TRANSACTION_BYTES:
        raise TransactionRefused(f"The transaction has more than {MAX_TRANSACTION_BYTES} bytes.")
    return wire


def _parse(wire: bytes) -> VersionedTransaction:
    try:
        transaction = VersionedTransaction.from_bytes(wire)
        transaction.sanitize()
    except Exception as error:  # solders has no common error class for what it refuses
        raise TransactionRefused("These bytes are not a Solana transaction.") from error
    if bytes(transaction) != wire:
        raise TransactionRefused("There are bytes behind the transaction's end.")
    return transaction
