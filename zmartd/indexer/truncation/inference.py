"""The events that a truncated transaction did not get to tell, worked out from what it asked for.

The program's trades are functions of the market's curve and of the instruction, so the trades of a
transaction follow one from the other, from the curve before the first of them. Those that were logged have to
come out as they were logged: this is what tells a wrong start from a right one. What else a vote's event says
stands in its instruction. Other instructions (creations, claims, decisions) cannot be worked out like this.
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
from zmartd.market import fees, lmsr
from zmartd.market.errors import MarketMathError
from zmartd.market.lifecycle import VoteKind
from zmartd.market.tape import Curve, FeeRates


class MarketBefore(Struct, frozen=True):
    """A market just before a transaction."""

    market_id: bytes
    curve: Curve


class Inference(Struct, frozen=True):
    """All events that could be had, the logged ones included, and what is wrong, None if nothing is."""

    events: tuple[EventRecord, ...]
    reason: str | None = None


def infer_events(
    calls: Sequence[Call],
    logged: Sequence[EventRecord],
    starts: Mapping[Pubkey, MarketBefore],
    rates: FeeRates,
    unix_timestamp: int,
) -> Inference:
    """The events of `calls`; `starts` are the markets that can be told, `unix_timestamp` the block's time.

    When a logged trade comes out otherwise, nothing is believed but what was logged.
    """
    told = {record.ordinal: record.event for record in logged}
    curves = {market: start.curve for market, start in starts.items()}
    events = dict(told)
    reasons: list[str] = []
    for call in calls:
        event = told.get(call.ordinal)
        if isinstance(call, OtherCall):
            if event is None:
                reasons.append(f"{call.name}, call {call.ordinal}, was not logged")
            continue
        start = starts.get(call.market)
        if start is None:
            if event is None:
                reasons.append(f"the market {call.market} of call {call.ordinal} is not known")
            continue
        if isinstance(call, VoteCall):
            events[call.ordinal] = event or _vote(call, start.market_id, unix_timestamp)
            continue
        try:
            traded, curves[call.market] = _trade(
                call, start.market_id, curves[call.market], rates, unix_timestamp
            )
        except MarketMathError as error:
            return Inference(tuple(logged), f"call {call.ordinal} cannot have succeeded: {error.code}")
        if event not in (None, traded):
            return Inference(tuple(logged), f"call {call.ordinal} was logged otherwise")
        events[call.ordinal] = traded
    records = tuple(EventRecord(ordinal, events[ordinal]) for ordinal in sorted(events))
    return Inference(records, "; ".join(reasons) or None)


def _vote(call: VoteCall, market_id: bytes, at: int) -> ProgramEvent:
    if call.kind is VoteKind.PROPOSAL:
        return ProposalVoteSubmitted(market_id, call.user, call.vote, at)
    return DisputeVoteSubmitted(market_id, call.user, call.vote, at)


def _trade(
    call: TradeCall, market_id: bytes, curve: Curve, rates: FeeRates, at: int
) -> tuple[ProgramEvent, Curve]:
    """A trade as the program makes it, and the curve after it. Raises MarketMathError."""
    q_yes, q_no, b = curve.q_yes, curve.q_no, curve.b
    if call.buys:
        budget = fees.budget_before_fees(call.amount)
        amount, shares = lmsr.quote_buy(q_yes, q_no, b, call.outcome, budget)
    else:
        shares = call.amount
        amount = lmsr.quote_sell(q_yes, q_no, b, call.outcome, shares)
    change = shares if call.buys else -shares
    after = Curve(q_yes + change, q_no, b) if call.outcome else Curve(q_yes, q_no + change, b)
    price = lmsr.price_yes(after.q_yes, after.q_no, b)
    charged = fees.split(amount, rates.protocol_bps, rates.resolver_bps, rates.lp_bps)[3]
    if call.buys:
        bought = SharesBought(market_id, call.user, call.outcome, shares, amount + charged, price, at)
        return bought, after
    return SharesSold(market_id, call.user, call.outcome, shares, amount - charged, price, at), after
