"""The records of the ledger: blocks, and transactions with their results."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction


class Block(Struct, frozen=True):
    """A block, complete or open."""

    slot: int
    height: int
    """The number of blocks before it. Slots can be skipped, heights cannot."""
    unix_time: int
    """The Clock sysvar's time during the whole slot."""
    blockhash: Hash | None
    """None while the slot is open."""


class PerformanceSample(Struct, frozen=True):
    """What the blocks of a period of time did."""

    last_slot: int
    blocks: int
    transactions: int


class Genesis(Struct, frozen=True):
    """The constants of a chain."""

    genesis_hash: str
    faucet_key: bytes
    """The secret key of the account that `requestAirdrop` pays from; worthless outside this chain."""
    identity: str


class LoadedAddresses(Struct, frozen=True):
    """The addresses that a transaction loads from lookup tables."""

    writable: tuple[Pubkey, ...] = ()
    readonly: tuple[Pubkey, ...] = ()


class CompiledInstruction(Struct, frozen=True, rename="camel"):
    """An instruction whose program and accounts are indices into the transaction's keys."""

    program_id_index: int
    accounts: list[int]
    data: str
    """Base58."""
    stack_height: int | None = None


class InnerInstructions(Struct, frozen=True):
    """The instructions that one top-level instruction called."""

    index: int
    instructions: list[CompiledInstruction]


class ReturnData(Struct, frozen=True, rename="camel"):
    """The return data of the last program that set any."""

    program_id: str
    data: tuple[str, str]
    """The data in base64, and "base64"."""


class TransactionMeta(Struct, frozen=True, rename="camel"):
    """The result of executing a transaction, with the field names of `getTransaction`."""

    err: Any
    """None on success; otherwise Solana's JSON form of a TransactionError."""
    fee: int
    """Lamports."""
    pre_balances: list[int]
    post_balances: list[int]
    log_messages: list[str]
    inner_instructions: list[InnerInstructions]
    compute_units_consumed: int
    return_data: ReturnData | None


class LandedTransaction(Struct, frozen=True):
    """A transaction on the chain, successful or failed; both have paid the fee."""

    signature: Signature
    slot: int
    index_in_block: int
    transaction: VersionedTransaction
    loaded: LoadedAddresses
    meta: TransactionMeta
    unix_time: int
    """The time of its slot."""
    memo: str | None = None
    """Its memos, as `getSignaturesForAddress` shows them."""

    @property
    def keys(self) -> tuple[Pubkey, ...]:
        """All its addresses, in the order of its instructions' indices."""
        return (*self.transaction.message.account_keys, *self.loaded.writable, *self.loaded.readonly)
