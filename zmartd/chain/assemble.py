"""Instructions to transactions: unsigned for a wallet, or signed with the backend authority's key.

Legacy messages, because every wallet reads them; none of ours needs a lookup table.
"""

from __future__ import annotations

from collections.abc import Sequence

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction

from zmartd.chain.signed_transactions import SignedTransaction

MAX_TRANSACTION_BYTES = 1_232
MAX_COMPUTE_UNITS = 1_400_000


class TransactionTooLarge(ValueError):
    """These instructions do not fit one transaction of 1232 bytes."""


def compute_budget(units: int, price_micro_lamports: int = 0) -> list[Instruction]:
    """Instructions that limit a transaction to `units` and, where a price is given, pay it per unit."""
    if not 0 < units <= MAX_COMPUTE_UNITS:
        raise ValueError(f"compute units must be between 1 and {MAX_COMPUTE_UNITS}, not {units}")
    limit = [set_compute_unit_limit(units)]
    return limit if price_micro_lamports == 0 else [*limit, set_compute_unit_price(price_micro_lamports)]


def build_transaction(instructions: Sequence[Instruction], payer: Pubkey, blockhash: Hash) -> bytes:
    """A serialized transaction whose signatures are all zero, for wallets to sign.

    Raises TransactionTooLarge when it would not fit one packet.
    """
    message = Message.new_with_blockhash(instructions, payer, blockhash)
    return _bounded(Transaction.new_unsigned(message))


def sign(
    instructions: Sequence[Instruction],
    payer: Keypair,
    blockhash: Hash,
    last_valid_block_height: int,
    purpose: str,
) -> SignedTransaction:
    """A transaction that `payer` pays and alone signs. Raises TransactionTooLarge."""
    message = Message.new_with_blockhash(instructions, payer.pubkey(), blockhash)
    transaction = Transaction([payer], message, blockhash)
    return SignedTransaction(
        signature=str(transaction.signatures[0]),
        wire=_bounded(transaction),
        last_valid_block_height=last_valid_block_height,
        purpose=purpose,
    )


def _bounded(transaction: Transaction) -> bytes:
    wire = bytes(transaction)
    if len(wire) > MAX_TRANSACTION_BYTES:
        raise TransactionTooLarge(f"{len(wire)} bytes do not fit one transaction of {MAX_TRANSACTION_BYTES}")
    return wire
