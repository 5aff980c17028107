"""A transaction as the chain recorded it, reduced to what the projection needs."""

from __future__ import annotations

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.events import ProgramEvent
from zmartd.chain.failures import ProgramFailure
from zmartd.errors import ZmartdError


class MalformedTransaction(ZmartdError):
    """This JSON is not a transaction as Solana's RPC or a raw Helius webhook gives it."""

    code = "malformed_transaction"


class EventRecord(Struct, frozen=True):
    """One event and its `ordinal`: its place among the program's own data lines in the transaction."""

    ordinal: int
    event: ProgramEvent


class Quarantined(Struct, frozen=True):
    """A data line of our own program that cannot be decoded, kept until an IDL explains it."""

    ordinal: int
    data: bytes
    reason: str


class MarketCreation(Struct, frozen=True):
    """The arguments of one create_market: what its event leaves out.

    `ipfs_question_hash` is empty when the 46 bytes are not printable ASCII.
    """

    market_id: bytes
    market: Pubkey
    creator: Pubkey
    b_parameter: int
    initial_liquidity: int
    ipfs_question_hash: str


class ChainTransaction(Struct, frozen=True):
    """What one transaction did. A failed one has an `error` and nothing else: no events, no creations.

    `logs_truncated` says that events may be missing: the accounts must be read instead.
    """

    signature: str
    slot: int
    block_time: int | None
    index_in_block: int | None
    succeeded: bool
    error: ProgramFailure | None
    events: tuple[EventRecord, ...]
    quarantined: tuple[Quarantined, ...]
    creations: tuple[MarketCreation, ...]
    logs_truncated: bool
