"""The messages that subscribers get once a change of markets is committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from asyncpg import Record

from zmartd.chain.events import DisputeVoteSubmitted, ProposalVoteSubmitted, SharesBought, SharesSold
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.markets import LockedMarket
from zmartd.indexer.events.rows import EventRow
from zmartd.market import ids
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.realtime.messages import Change, MarketUpdate, Message, PriceUpdate, TradeExecuted, VoteCast


def batch_messages(
    batch: Batch, before: Mapping[str, LockedMarket], after: Sequence[Record]
) -> list[Message]:
    """Messages of a batch. For each market of `after`: its trades and votes in order, its price, its row."""
    of_market: dict[str, list[EventRow]] = defaultdict(list)
    for row in sorted(batch.rows, key=lambda row: (row.slot, row.index_in_block or 0, row.key)):
        of_market[batch.market_of(row) or ""].append(row)
    messages: list[Message] = []
    for market in after:
        market_id, version = market["id"], market["version"]
        events = of_market.get(market_id, [])
        at = max(row.occurred_at for row in events or batch.rows)
        changes: list[tuple[Change, datetime]] = [
            (change, row.occurred_at) for row in events if (change := _of_event(row)) is not None
        ]
        if any(row.is_trade for row in events):
            changes.append((_price(market), at))
        changes.append((_market(market, before.get(market_id)), at))
        messages.extend(Message(market_id, version, change, moment) for change, moment in changes)
    return messages


def state_messages(
    before: Mapping[str, LockedMarket], after: Sequence[Record], at: datetime
) -> list[Message]:
    """Messages of a rebuild: the price and the row of each market."""
    return [
        Message(market["id"], market["version"], change, at)
        for market in after
        for change in (_price(market), _market(market, before.get(market["id"])))
    ]


def _of_event(row: EventRow) -> Change | None:
    match row.event:
        case SharesBought() | SharesSold() as trade:
            buys = isinstance(trade, SharesBought)
            return TradeExecuted(
                trade_id=ids.trade_id(row.signature, row.ordinal),
                trade_type="buy" if buys else "sell",
                outcome=trade.outcome,
                shares=trade.shares,
                cost_lamports=trade.cost if isinstance(trade, SharesBought) else trade.proceeds,
                price_yes=trade.new_price_yes,
                user_wallet=str(trade.user),
                signature=row.signature,
                slot=row.slot,
            )
        case ProposalVoteSubmitted():
            return VoteCast(vote_type=VoteKind.PROPOSAL)
        case DisputeVoteSubmitted():
            return VoteCast(vote_type=VoteKind.DISPUTE)
        case _:
            return None


def _price(market: Record) -> PriceUpdate:
    return PriceUpdate(
        price_yes=market["price_yes"], shares_yes=market["shares_yes"], shares_no=market["shares_no"]
    )


def _market(market: Record, before: LockedMarket | None) -> MarketUpdate:
    state = MarketState[market["state"]]
    moved = before is not None and before.state is not state
    return MarketUpdate(
        action="created" if before is not None and before.version == 0 else "updated",
        old_state=before.state if before is not None and moved else None,
        state=state,
        on_chain_address=market["on_chain_address"],
        price_yes=market["price_yes"],
        shares_yes=market["shares_yes"],
        shares_no=market["shares_no"],
        b_parameter=market["b_parameter"] or 0,
        total_volume_lamports=market["total_volume"],
        current_liquidity_lamports=market["current_liquidity"],
        proposed_outcome=market["proposed_outcome"],
        final_outcome=market["final_outcome"],
        awaiting_decision=market["awaiting_decision"],
        settles_at=market["settles_at"],
        slot=market["slot"],
    )
