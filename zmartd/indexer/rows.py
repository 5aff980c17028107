"""What each program event is in the database: its table, its market, its actor and its payload."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, get_args

import msgspec
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain import events
from zmartd.chain.events import ProgramEvent
from zmartd.chain.transactions import ChainTransaction, EventRecord
from zmartd.chain.wire import Layout

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

_TRADES = frozenset({events.SharesBought, events.SharesSold})


class EventRow(Struct, frozen=True, dict=True):
    """One event with the place on the chain that identifies and orders it."""

    event: ProgramEvent
    signature: str
    ordinal: int
    slot: int
    index_in_block: int | None
    block_time: datetime | None
    resolver_fee_lamports: int = 0
    """What a claim paid to the market's resolver besides."""

    @cached_property
    def key(self) -> tuple[str, int]:
        return self.signature, self.ordinal

    @property
    def table(self) -> str:
        return TABLE[type(self.event)]

    @property
    def event_type(self) -> str:
        return type(self.event).__name__

    @cached_property
    def market_id(self) -> str | None:
        """The market's id, or None for events that name the market by its address, or none at all."""
        raw: bytes | None = getattr(self.event, "market_id", None)
        return None if raw is None else raw.hex()

    @cached_property
    def market_address(self) -> str | None:
        """The market account's address, for the events that name the market this way."""
        address: Pubkey | None = getattr(self.event, "market", None)
        return None if address is None else str(address)

    @cached_property
    def actor(self) -> str | None:
        """The wallet that made it happen, where the event says so."""
        of = _ACTOR.get(type(self.event))
        wallet = of(self.event) if of else None
        return None if wallet is None else str(wallet)

    @property
    def is_trade(self) -> bool:
        return type(self.event) in _TRADES

    @cached_property
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


def _plain(wire_type: str) -> Callable[[Any], str] | None:
    """How a value of a wire type becomes JSON; None where it is JSON already, or a number that JSON holds."""
    match wire_type.removeprefix("option<").removesuffix(">"):
        case "pubkey" | "u64":
            return str
        case name if name.startswith("[u8"):
            return bytes.hex
        case _:
            return None


def _payload_fields(kind: type[Any]) -> tuple[tuple[str, str, Callable[[Any], str] | None], ...]:
    """An event's fields, each with its name in JSON and what makes JSON of its value."""
    types = Layout(kind).types.items()
    return tuple(
        (name, written, _plain(wire_type))
        for name, (written, wire_type) in zip(kind.__struct_fields__, types, strict=True)
    )


_PAYLOAD = {kind: _payload_fields(kind) for kind in get_args(ProgramEvent)}


def _resolver_fee(transaction: ChainTransaction, record: EventRecord) -> int:
    """The payment of a transaction belongs to its first claim on the market."""
    if not transaction.resolver_payments or not isinstance(record.event, events.WinningsClaimed):
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
    return {
        written: value if value is None or plain is None else plain(value)
        for name, written, plain in _PAYLOAD[type(event)]
        for value in (getattr(event, name),)
    }


def payload_json(row: EventRow) -> str:
    """What the row keeps: the event, and of a claim also what it paid to the resolver."""
    fields = payload(row.event)
    if row.resolver_fee_lamports:
        fields["resolver_fee"] = str(row.resolver_fee_lamports)
    return msgspec.json.encode(fields).decode()


def moment(unix_seconds: int) -> datetime:
    """A chain time as a database value; times outside what Postgres and Python share become the epoch."""
    try:
        return datetime.fromtimestamp(unix_seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, tz=UTC)
