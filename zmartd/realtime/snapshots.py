"""What messages and snapshots tell of a market's row."""

from __future__ import annotations

from zmartd.realtime.messages import MarketUpdate, Message, Snapshot
from zmartd.store.markets import MarketRow, MarketVersion


def snapshot_of(market: MarketRow) -> Snapshot:
    """A market's row, which was read together with the position of its stream."""
    return Snapshot(
        market.id, market.stream_position, market_update(market), market.updated_at, market.commitment
    )


def state_message(market: MarketRow) -> Message:
    """The message that tells subscribers the present state of a market's row."""
    return Message(
        market.id, market_update(market), market.updated_at, market.commitment, category=market.category
    )


def market_update(market: MarketVersion) -> MarketUpdate:
    """The state of a market's row as messages have it.

    Sums below zero, because a sale is indexed and a purchase before it is not yet, are shown as zero.
    """
    return MarketUpdate(
        state=market.state,
        on_chain_address=market.on_chain_address,
        price_yes=market.price_yes,
        shares_yes=max(market.shares_yes, 0),
        shares_no=max(market.shares_no, 0),
        b_parameter=market.b_parameter or 0,
        total_volume_lamports=market.total_volume,
        current_liquidity_lamports=max(market.current_liquidity, 0),
        proposed_outcome=market.proposed_outcome,
        final_outcome=market.final_outcome,
        awaiting_admin_approval=market.awaiting_admin_approval,
        awaiting_decision=market.awaiting_decision,
        settles_at=market.settles_at,
        slot=market.slot,
    )
