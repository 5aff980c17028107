"""What an event's transaction says about it and the event itself leaves out.

It is stored with the event, so that a market can be rebuilt from its event rows alone.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.chain.events import MarketCreated, MarketFinalized, WinningsClaimed
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, EventRecord


class EventContext(Struct, frozen=True, kw_only=True):
    """Context of a claim, a creation or a finalization; None or zero for all other events.

    `resolver_fee` is what a claim paid to the market's resolver in addition, in lamports; `initial_liquidity`
    (lamports) and `question_cid` are arguments of a creation, `dispute_agree` and `dispute_disagree` those of
    a finalization.
    """

    resolver_fee: int = 0
    initial_liquidity: int | None = None
    question_cid: str | None = None
    dispute_agree: int | None = None
    dispute_disagree: int | None = None


NO_CONTEXT = EventContext()
EVENTS_WITH_CONTEXT = frozenset({MarketCreated, MarketFinalized, WinningsClaimed})


def event_context(transaction: ChainTransaction, record: EventRecord, pdas: Pdas) -> EventContext:
    """The context of one of the transaction's events."""
    match record.event:
        case MarketCreated(market_id=market_id) if transaction.creations:
            return _creation(transaction, market_id)
        case MarketFinalized(market_id=market_id) if transaction.dispute_counts:
            return _finalization(transaction, str(pdas.market(market_id)))
        case WinningsClaimed() if transaction.resolver_payments:
            return EventContext(resolver_fee=_resolver_fee(transaction, record))
        case _:
            return NO_CONTEXT


def _creation(transaction: ChainTransaction, market_id: bytes) -> EventContext:
    for creation in transaction.creations:
        if creation.market_id == market_id:
            return EventContext(
                initial_liquidity=creation.initial_liquidity,
                question_cid=creation.ipfs_question_hash or None,
            )
    return NO_CONTEXT


def _finalization(transaction: ChainTransaction, market: str) -> EventContext:
    for count in transaction.dispute_counts:
        if str(count.market) == market:
            return EventContext(dispute_agree=count.agree, dispute_disagree=count.disagree)
    return NO_CONTEXT


def _resolver_fee(transaction: ChainTransaction, record: EventRecord) -> int:
    """A transaction's payments to a market's resolver belong to its first claim on that market."""
    if not isinstance(record.event, WinningsClaimed):
        return 0
    market = record.event.market
    first = next(
        one.ordinal
        for one in transaction.events
        if isinstance(one.event, WinningsClaimed) and one.event.market == market
    )
    paid = (one.lamports for one in transaction.resolver_payments if one.market == market)
    return sum(paid) if record.ordinal == first else 0
