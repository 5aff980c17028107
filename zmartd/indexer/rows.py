"""What each program event is in the database: its table, its market, its actor and its payload."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain import events
from zmartd.chain.events import ProgramEvent
from zmartd.chain.transactions import ChainTransaction, EventRecord

MARKET, TRADE, VOTE, ADMIN = "market_events", "trade_events", "vote_events", "admin_events"

TABLE: dict[type[Any], str] = {
    events.MarketCreated: MARKET,
    events.ProposalApproved: MARKET,
    events.MarketActivated: MARKET,
    events.MarketResolved: MARKET,
    events.DisputeInitiated: MARKET,
    events.MarketFinalized: MARKET,
    events.SharesBought: TRADE,
    events.SharesSold: TRADE,
    events.SharesTransferred: TRADE,
    events.WinningsClaimed: TRADE,
    events.LiquidityWithdrawn: TRADE,
    events.ProposalVoteSubmitted: VOTE,
    events.DisputeVoteSubmitted: VOTE,
    events.ProposalAggregated: VOTE,
    events.DisputeAggregated: VOTE,
    events.MarketCancelled: ADMIN,
    events.GlobalConfigInitialized: ADMIN,
    events.ConfigUpdated: ADMIN,
    events.ProtocolPauseStatusChanged: ADMIN,
}
"""Which of the four event tables keeps an event. Every event of the program has exactly one."""

_ACTOR: dict[type[Any], Callable[[Any], Pubkey | None]] = {
    events.MarketCreated: lambda event: event.creator,
    events.ProposalApproved: lambda event: event.approved_by,
    events.MarketActivated: lambda event: event.creator,
    events.MarketResolved: lambda event: event.resolver,
    events.DisputeInitiated: lambda event: event.initiator,
    events.SharesBought: lambda event: event.user,
    events.SharesSold: lambda event: event.user,
    events.SharesTransferred: lambda event: event.from_,
    events.WinningsClaimed: lambda event: event.user,
    events.LiquidityWithdrawn: lambda event: event.creator,
    events.ProposalVoteSubmitted: lambda event: event.user,
    events.DisputeVoteSubmitted: lambda event: event.user,
    events.MarketCancelled: lambda event: event.cancelled_by,
    events.GlobalConfigInitialized: lambda event: event.admin,
    events.ProtocolPauseStatusChanged: lambda event: event.paused_by,
}


class EventRow(Struct, frozen=True):
    """One event with the place on the chain that identifies and orders it."""

    event: ProgramEvent
    signature: str
    ordinal: int
    slot: int
    index_in_block: int | None
    block_time: datetime | None
    resolver_fee_lamports: int = 0
    """What a claim paid to the market's resolver besides."""

    @property
    def key(self) -> tuple[str, int]:
        return self.signature, self.ordinal

    @property
    def table(self) -> str:
        return TABLE[type(self.event)]

    @property
    def event_type(self) -> str:
        return type(self.event).__name__

    @property
    def market_id(self) -> str | None:
        """The market's id, or None for events that name the market by its address, or none at all."""
        raw: bytes | None = getattr(self.event, "market_id", None)
        return None if raw is None else raw.hex()

    @property
    def market_address(self) -> str | None:
        """The market account's address, for the events that name the market this way."""
        address: Pubkey | None = getattr(self.event, "market", None)
        return None if address is None else str(address)

    @property
    def actor(self) -> str | None:
        """The wallet that made it happen, where the event says so."""
        of = _ACTOR.get(type(self.event))
        wallet = of(self.event) if of else None
        return None if wallet is None else str(wallet)

    @property
    def is_trade(self) -> bool:
        return isinstance(self.event, events.SharesBought | events.SharesSold)

    @property
    def occurred_at(self) -> datetime:
        """The chain's clock when the program ran."""
        event = self.event
        seconds = getattr(event, "timestamp", None) or getattr(event, "cancelled_at", None)
        if seconds:
            return moment(seconds)
        return self.block_time or moment(0)


def event_row(transaction: ChainTransaction, record: EventRecord) -> EventRow:
    """The row of one event of a transaction."""
    time = transaction.block_time
    return EventRow(
        event=record.event,
        signature=transaction.signature,
        ordinal=record.ordinal,
        slot=transaction.slot,
        index_in_block=transaction.index_in_block,
        block_time=None if time is None else moment(time),
        resolver_fee_lamports=_resolver_fee(transaction, record),
    )


def _resolver_fee(transaction: ChainTransaction, record: EventRecord) -> int:
    """The payment of a transaction belongs to its first claim on the market."""
    if not isinstance(record.event, events.WinningsClaimed) or not transaction.resolver_payments:
        return 0
    market = record.event.market
    first = next(
        one.ordinal
        for one in transaction.events
        if isinstance(one.event, events.WinningsClaimed) and one.event.market == market
    )
    paid = (one.lamports for one in transaction.resolver_payments if one.market == market)
    return sum(paid) if record.ordinal == first else 0


def payload(event: ProgramEvent) -> dict[str, Any]:
    """The event's fields as JSON values: addresses in base58, bytes in hex, u64 as decimal strings."""
    return {name.rstrip("_"): _plain(name, getattr(event, name)) for name in event.__struct_fields__}


def payload_json(row: EventRow) -> str:
    """What the row keeps: the event, and of a claim also what it paid to the resolver."""
    fields = payload(row.event)
    if row.resolver_fee_lamports:
        fields["resolver_fee"] = str(row.resolver_fee_lamports)
    return msgspec.json.encode(fields).decode()


_SMALL = frozenset(
    {"timestamp", "cancelled_at", "state", "likes", "dislikes", "agrees", "disagrees"}
    | {"approval_percentage", "agreement_percentage", "min_resolution_delay", "dispute_period"}
    | {"proposal_approval_threshold", "dispute_success_threshold"}
    | {"protocol_fee_bps", "resolver_reward_bps", "liquidity_provider_fee_bps"}
)
"""Fields that a JSON number holds exactly; every other integer is a u64."""


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Pubkey):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return value if name in _SMALL else str(value)


def moment(unix_seconds: int) -> datetime:
    """A chain time as a database value; times outside what Postgres and Python share become the epoch."""
    try:
        return datetime.fromtimestamp(unix_seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, tz=UTC)
