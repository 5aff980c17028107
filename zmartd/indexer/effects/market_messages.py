"""The messages that subscribers get once a change of markets is committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from asyncpg import Record

from zmartd.chain.commitment import Commitment
from zmartd.chain.events import DisputeVoteSubmitted, ProposalVoteSubmitted, SharesBought, SharesSold
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.markets import ChangedMarket, LockedMarket
from zmartd.indexer.effects.trades import Fill
from zmartd.indexer.events.commitment import Promoted, PublishedMarket
from zmartd.indexer.events.rows import TRADES, EventRow
from zmartd.market import ids
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.messages import (
    Change,
    Message,
    PriceUpdate,
    Promotion,
    Retraction,
    TradeExecuted,
    VoteCast,
)
from zmartd.realtime.snapshots import market_update

_VOTES = {
    ProposalVoteSubmitted.__name__: VoteKind.PROPOSAL,
    DisputeVoteSubmitted.__name__: VoteKind.DISPUTE,
}
MAX_PROMOTED = 300
"""Ids in one message; an id has up to 100 characters, and a message of the bus 64 KiB."""


Fills = Mapping[tuple[str, int], Fill]
"""The fills of trades, by the keys of their events."""


def batch_messages(
    batch: Batch, before: Mapping[str, LockedMarket], after: Sequence[ChangedMarket], fills: Fills
) -> list[Message]:
    """Messages of a batch. For each market of `after`: its trades and votes in order, its price, its row.

    `fills` has all trades of the batch.
    """
    of_market = _by_market(batch.rows, batch.market_of)
    messages: list[Message] = []
    for market in after:
        events = of_market.get(market.id, [])
        at = max(row.occurred_at for row in events or batch.rows)
        messages += [
            Message(market.id, change, row.occurred_at, batch.commitment, category=market.category)
            for row in events
            if (change := _change(row, fills)) is not None
        ]
        if any(row.is_trade for row in events):
            messages.append(
                Message(market.id, _price(market), at, market.commitment, category=market.category)
            )
        messages.append(_state(market, before.get(market.id), at))
    return messages


def rebuild_messages(
    before: Mapping[str, LockedMarket],
    after: Sequence[ChangedMarket],
    at: datetime,
    *,
    removed: Sequence[Record],
    recorded: Sequence[EventRow],
    fills: Fills,
    commitment: Commitment,
) -> list[Message]:
    """Messages of a rebuild. For each market: retractions, recorded events, its price, its row.

    `removed` and `recorded` are the events that the markets lost, as they were stored, and got, the latter
    with `commitment`. `fills` has all trades among the latter.
    """
    retractions = _retractions(removed)
    additions = _by_market(recorded, lambda row: row.market_id)
    messages: list[Message] = []
    for market in after:
        changes: list[tuple[Change | None, Commitment]] = [
            *((one, market.commitment) for one in retractions.get(market.id, ())),
            *((_change(row, fills), commitment) for row in additions.get(market.id, ())),
            (_price(market), market.commitment),
        ]
        messages += [
            Message(market.id, change, at, certainty, category=market.category)
            for change, certainty in changes
            if change is not None
        ]
        messages.append(_state(market, before.get(market.id), at))
    return messages


def promotion_messages(promoted: Promoted) -> list[Message]:
    """Messages about trades and votes that became final."""
    return [
        Message(market_id, _promotion(part), market.at, "finalized", category=market.category)
        for market_id, records in _retractions(promoted.events).items()
        if (market := promoted.markets.get(market_id)) is not None
        for part in (records[start : start + MAX_PROMOTED] for start in range(0, len(records), MAX_PROMOTED))
    ]


def market_promotion_messages(promoted: Mapping[str, PublishedMarket]) -> list[Message]:
    """Messages about markets all of whose events became final."""
    return [
        Message(market_id, Promotion(market=True), market.at, "finalized", category=market.category)
        for market_id, market in promoted.items()
    ]


def _by_market(
    rows: Iterable[EventRow], market_of: Callable[[EventRow], str | None]
) -> dict[str, list[EventRow]]:
    """The events of each market in the order of the chain."""
    of_market: dict[str, list[EventRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.slot, row.index_in_block or 0, row.key)):
        of_market[market_of(row) or ""].append(row)
    return of_market


def _change(row: EventRow, fills: Fills) -> Change | None:
    match row.event:
        case SharesBought() | SharesSold():
            return trade_executed(row, fills[row.key])
        case ProposalVoteSubmitted() | DisputeVoteSubmitted():
            kind = _VOTES[row.event_type]
            vote_id = ids.vote_id(kind, row.signature, row.market_id or "", row.actor or "")
            return VoteCast(vote_type=kind, vote_id=vote_id)
        case _:
            return None


def trade_executed(row: EventRow, fill: Fill) -> TradeExecuted:
    """What is told of a SharesBought or SharesSold event."""
    trade = row.event
    if not isinstance(trade, SharesBought | SharesSold):
        raise TypeError(f"{row.event_type} is not a trade")
    return TradeExecuted(
        trade_id=ids.trade_id(row.signature, row.ordinal),
        trade_type="buy" if isinstance(trade, SharesBought) else "sell",
        outcome=trade.outcome,
        shares=trade.shares,
        cost_lamports=trade.cost if isinstance(trade, SharesBought) else trade.proceeds,
        amount_lamports=fill.amount_lamports,
        fees=fill.fees,
        price_yes_before=fill.price_yes_before,
        price_yes=trade.new_price_yes,
        user_wallet=str(trade.user),
        signature=row.signature,
        slot=row.slot,
    )


def _retraction(record: Record) -> Retraction | None:
    """What takes back the message about a stored event; None for an event that has none.

    Its payload need not be readable.
    """
    event_type, slot = record["event_type"], record["slot"]
    if event_type in TRADES:
        record_id = ids.trade_id(record["tx_signature"], record["event_index"])
        return Retraction(kind="trade", record_id=record_id, slot=slot)
    kind = _VOTES.get(event_type)
    if kind is None:
        return None
    record_id = ids.vote_id(kind, record["tx_signature"], record["market_id"], record["actor"] or "")
    return Retraction(kind="vote", record_id=record_id, slot=slot)


def _retractions(records: Iterable[Record]) -> dict[str, list[Retraction]]:
    """What takes back the messages about stored events, by market and in the order of the chain."""
    of_market: dict[str, list[Retraction]] = defaultdict(list)
    place = ("slot", "index_in_block", "tx_signature", "event_index")
    for record in sorted(records, key=lambda record: [record[column] or 0 for column in place]):
        if record["market_id"] is not None and (found := _retraction(record)) is not None:
            of_market[record["market_id"]].append(found)
    return of_market


def _promotion(records: Sequence[Retraction]) -> Promotion:
    return Promotion(
        trades=tuple(one.record_id for one in records if one.kind == "trade"),
        votes=tuple(one.record_id for one in records if one.kind == "vote"),
    )


def _price(market: ChangedMarket) -> PriceUpdate:
    state = market_update(market)
    return PriceUpdate(price_yes=state.price_yes, shares_yes=state.shares_yes, shares_no=state.shares_no)


def _state(market: ChangedMarket, before: LockedMarket | None, at: datetime) -> Message:
    update = msgspec.structs.replace(
        market_update(market),
        action=_action(market, before),
        old_state=None if before is None or before.state is market.state else before.state,
    )
    return Message(market.id, update, at, market.commitment, category=market.category)


def _action(market: ChangedMarket, before: LockedMarket | None) -> Literal["created", "updated", "deleted"]:
    if market.orphaned:
        return "deleted"
    return "updated" if before is None or before.is_known else "created"
