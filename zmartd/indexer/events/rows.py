"""The row of a program event: its table, its place on the chain, its market and its actor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from asyncpg import Record
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain import events
from zmartd.chain.events import ProgramEvent, event_seconds
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, EventRecord
from zmartd.errors import ZmartdError
from zmartd.indexer.events.event_context import NO_CONTEXT, EventContext, event_context
from zmartd.indexer.events.payloads import context_from_payload, event_from_payload
from zmartd.market.iso_time import utc_from_unix

MARKET_EVENTS, TRADE_EVENTS, VOTE_EVENTS, ADMIN_EVENTS = (
    "market_events",
    "trade_events",
    "vote_events",
    "admin_events",
)
EVENT_TABLES = (MARKET_EVENTS, TRADE_EVENTS, VOTE_EVENTS, ADMIN_EVENTS)
"""The tables that keep events, in the order of the view `program_events`, which reads all of them."""

TABLE: dict[type[Any], str] = {
    events.MarketCreated: MARKET_EVENTS,
    events.ProposalApproved: MARKET_EVENTS,
    events.MarketActivated: MARKET_EVENTS,
    events.MarketResolved: MARKET_EVENTS,
    events.DisputeInitiated: MARKET_EVENTS,
    events.MarketFinalized: MARKET_EVENTS,
    events.SharesBought: TRADE_EVENTS,
    events.SharesSold: TRADE_EVENTS,
    events.SharesTransferred: TRADE_EVENTS,
    events.WinningsClaimed: TRADE_EVENTS,
    events.LiquidityWithdrawn: TRADE_EVENTS,
    events.ProposalVoteSubmitted: VOTE_EVENTS,
    events.DisputeVoteSubmitted: VOTE_EVENTS,
    events.ProposalAggregated: VOTE_EVENTS,
    events.DisputeAggregated: VOTE_EVENTS,
    events.MarketCancelled: ADMIN_EVENTS,
    events.GlobalConfigInitialized: ADMIN_EVENTS,
    events.ConfigUpdated: ADMIN_EVENTS,
    events.ProtocolPauseStatusChanged: ADMIN_EVENTS,
}
"""The event table of each event type of the program."""

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
TRADES = frozenset(kind.__name__ for kind in _TRADES)
"""The event types of trades."""


class UnreadableRow(ZmartdError):
    """An event row was not written by this program: `zmartd audit --repair --all` replaces it."""

    code = "unreadable_row"


class ChainPlace(NamedTuple):
    """Where on the chain an event happened. The place of its transaction in the block may not be known."""

    slot: int
    index_in_block: int | None
    signature: str
    ordinal: int

    def is_before(self, other: ChainPlace) -> bool | None:
        """Whether this place comes first; None where nobody knows."""
        if self.slot != other.slot:
            return self.slot < other.slot
        if self.signature == other.signature:
            return self.ordinal < other.ordinal
        if self.index_in_block is None or other.index_in_block is None:
            return None
        return self.index_in_block < other.index_in_block


class EventRow(Struct, frozen=True, dict=True):
    """An event with its place on the chain, which identifies it (signature, ordinal) and orders it (slot)."""

    event: ProgramEvent
    signature: str
    ordinal: int
    slot: int
    index_in_block: int | None
    block_time: datetime | None
    context: EventContext = NO_CONTEXT

    @cached_property
    def key(self) -> tuple[str, int]:
        return self.signature, self.ordinal

    @property
    def place(self) -> ChainPlace:
        return ChainPlace(self.slot, self.index_in_block, self.signature, self.ordinal)

    @property
    def table(self) -> str:
        return TABLE[type(self.event)]

    @property
    def event_type(self) -> str:
        return type(self.event).__name__

    @cached_property
    def market_id(self) -> str | None:
        """The market's id; None for events of no market, and for those that name it by its address."""
        raw: bytes | None = getattr(self.event, "market_id", None)
        return None if raw is None else raw.hex()

    @cached_property
    def market_address(self) -> str | None:
        """The market's address, for the events that name the market this way; else None."""
        address: Pubkey | None = getattr(self.event, "market", None)
        return None if address is None else str(address)

    @cached_property
    def actor(self) -> str | None:
        """The wallet that caused the event, if the event names one."""
        of = _ACTOR.get(type(self.event))
        wallet = of(self.event) if of else None
        return None if wallet is None else str(wallet)

    @property
    def is_trade(self) -> bool:
        return type(self.event) in _TRADES

    @cached_property
    def occurred_at(self) -> datetime:
        """The chain's time when the program emitted the event."""
        seconds = event_seconds(self.event)
        if seconds is not None:
            return utc_from_unix(seconds)
        return self.block_time or utc_from_unix(0)


def event_row(transaction: ChainTransaction, record: EventRecord, pdas: Pdas) -> EventRow:
    """The row of an event of a transaction."""
    time = transaction.block_time
    return EventRow(
        event=record.event,
        signature=transaction.signature,
        ordinal=record.ordinal,
        slot=transaction.slot,
        index_in_block=transaction.index_in_block,
        block_time=None if time is None else utc_from_unix(time),
        context=event_context(transaction, record, pdas),
    )


def stored_row(record: Record) -> EventRow:
    """The event of a stored row. Raises UnreadableRow."""
    try:
        fields = msgspec.json.decode(record["payload"])
        event = event_from_payload(record["event_type"], fields)
        context = context_from_payload(event, fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableRow from error
    return EventRow(
        event=event,
        signature=record["tx_signature"],
        ordinal=record["event_index"],
        slot=record["slot"],
        index_in_block=record["index_in_block"],
        block_time=record["block_time"],
        context=context,
    )


def for_each_table(statement: str, separator: str = ", ", tables: Sequence[str] = EVENT_TABLES) -> str:
    """SQL that repeats `statement` for each of the tables, whose name takes the place of `{table}`."""
    return separator.join(statement.format(table=table) for table in tables)
