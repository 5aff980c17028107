"""What the chain writes down: blocks, and transactions with what they did."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction


class Block(Struct, frozen=True):
    """A slot in which a block was, or is being, made."""

    slot: int
    height: int
    """How many blocks there were before it. Slots can be skipped, heights cannot."""
    unix_time: int
    """What the Clock sysvar said during the whole slot."""
    blockhash: Hash | None
    """None while the slot is open."""


class Genesis(Struct, frozen=True):
    """What a chain is given once and keeps."""

    genesis_hash: str
    faucet_key: bytes
    """Secret key of the account behind `requestAirdrop`; it is worth nothing outside this chain."""
    identity: str


class LoadedAddresses(Struct, frozen=True):
    """What a transaction took out of address lookup tables."""

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
    """What one top-level instruction called."""

    index: int
    instructions: list[CompiledInstruction]


class ReturnData(Struct, frozen=True, rename="camel"):
    """What the last program that said anything returned."""

    program_id: str
    data: tuple[str, str]
    """The bytes in base64, and the word `base64`."""


class TransactionMeta(Struct, frozen=True, rename="camel"):
    """What executing a transaction did. The field names are those of `getTransaction`."""

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


class Landed(Struct, frozen=True):
    """A transaction that is on the chain, be it a failed one that paid its fee."""

    signature: Signature
    slot: int
    index_in_block: int
    transaction: VersionedTransaction
    loaded: LoadedAddresses
    meta: TransactionMeta
    unix_time: int
    """Of its slot."""
    memo: str | None = None
    """What its memo instructions say, as `getSignaturesForAddress` shows it."""

    @property
    def keys(self) -> tuple[Pubkey, ...]:
        """Every address it mentions, in the order that its instructions' indices follow."""
        return (*self.transaction.message.account_keys, *self.loaded.writable, *self.loaded.readonly)
