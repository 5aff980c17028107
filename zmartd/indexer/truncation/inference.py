"""Infers the events that truncated logs lack from the instructions of their transaction.

A trade of the program is a function of its instruction and of the market's curve, so the trades of a
transaction follow one from another, given the curve before the first of them. Inferred trades are compared
with those that were logged, which detects a wrong starting curve. The event of a vote repeats its
instruction. Other instructions (creations, claims, decisions) cannot be inferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.calls import Call, OtherCall, TradeCall, VoteCall
from zmartd.chain.events import (
    DisputeVoteSubmitted,
    ProgramEvent,
    ProposalVoteSubmitted,
    SharesBought,
    SharesSold,
)
from zmartd.chain.transactions import EventRecord
from zmartd.market import quotes
from zmartd.market.errors import MarketMathError
from zmartd.market.lifecycle import VoteKind
from zmartd.market.quotes import Pool


class MarketBefore(Struct, frozen=True):
    """A market just before a transaction. `pool` has the fee rates in force in the transaction's slot."""

    market_id: bytes
    pool: Pool


class Inference(Struct, frozen=True):
    """All known events of a transaction, logged or inferred.

    `reason` says why some are missing; None if none is.
    """

    events: tuple[EventRecord, ...]
    reason: str | None = None


def infer_events(
    calls: Sequence[Call],
    logged: Sequence[EventRecord],
    markets: Mapping[Pubkey, MarketBefore],
    unix_timestamp: int,
) -> Inference:
    """Infer the events of `calls`. `markets` are the known markets, `unix_timestamp` is the block's time.

    If a logged trade differs from the inferred one, nothing is inferred and only `logged` is returned.
    """
    events = {record.ordinal: record.event for record in logged}
    pools = {address: market.pool for address, market in markets.items()}
    reasons: list[str] = []
    for call in calls:
        event = events.get(call.ordinal)
        if isinstance(call, OtherCall):
            if event is None:
                reasons.append(f"{call.name}, call {call.ordinal}, was not logged")
            continue
        market = markets.get(call.market)
        if market is None:
            if event is None:
                reasons.append(f"the market {call.market} of call {call.ordinal} is not known")
            continue
        if isinstance(call, VoteCall):
            events[call.ordinal] = event or _vote(call, market.market_id, unix_timestamp)
            continue
        try:
            trade, pools[call.market] = _trade(call, market.market_id, pools[call.market], unix_timestamp)
        except MarketMathError as error:
            return Inference(tuple(logged), f"call {call.ordinal} cannot have succeeded: {error.code}")
        if event not in (None, trade):
            return Inference(tuple(logged), f"call {call.ordinal} was logged otherwise")
        events[call.ordinal] = trade
    records = tuple(EventRecord(ordinal, events[ordinal]) for ordinal in sorted(events))
    return Inference(records, "; ".join(reasons) or None)


def _vote(call: VoteCall, market_id: bytes, at: int) -> ProgramEvent:
    if call.kind is VoteKind.PROPOSAL:
        return ProposalVoteSubmitted(market_id, call.user, call.vote, at)
    return DisputeVoteSubmitted(market_id, call.user, call.vote, at)


def _trade(call: TradeCall, market_id: bytes, pool: Pool, at: int) -> tuple[ProgramEvent, Pool]:
    """The event of a trade, and the pool after it. Raises MarketMathError."""
    outcome = call.outcome
    if call.buys:
        buy = quotes.buy_for_cost(pool, outcome, call.amount)
        bought = SharesBought(
            market_id, call.user, outcome, buy.shares, buy.total_lamports, buy.price_yes_after, at
        )
        return bought, pool.moved(outcome, buy.shares)
    # The seller's own limit is not known here; that the transaction succeeded shows that it was met.
    sale = quotes.sell(pool, outcome, call.amount, min_proceeds_lamports=0)
    sold = SharesSold(
        market_id, call.user, outcome, sale.shares, sale.total_lamports, sale.price_yes_after, at
    )
    return sold, pool.moved(outcome, -sale.shares)
