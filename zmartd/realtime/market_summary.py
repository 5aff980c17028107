"""What a market's state looks like in JSON: the same in the REST API and in WebSocket frames."""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.iso_time import iso_time_or_none
from zmartd.market.lmsr import SCALE
from zmartd.realtime.messages import MarketUpdate


class MarketSummary(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits, prices as numbers from 0 to 1."""

    on_chain_address: str
    state: str
    state_code: int
    price_yes: float
    price_no: float
    shares_yes: str
    shares_no: str
    b_parameter: str
    total_volume: str
    current_liquidity: str
    proposed_outcome: bool | None
    final_outcome: bool | None
    awaiting_decision: bool
    settles_at: str | None
    slot: int | None


def market_summary(update: MarketUpdate) -> MarketSummary:
    price_yes, price_no = prices(update.price_yes)
    return MarketSummary(
        on_chain_address=update.on_chain_address,
        state=update.state.name,
        state_code=update.state.value,
        price_yes=price_yes,
        price_no=price_no,
        shares_yes=str(update.shares_yes),
        shares_no=str(update.shares_no),
        b_parameter=str(update.b_parameter),
        total_volume=str(update.total_volume_lamports),
        current_liquidity=str(update.current_liquidity_lamports),
        proposed_outcome=update.proposed_outcome,
        final_outcome=update.final_outcome,
        awaiting_decision=update.awaiting_decision,
        settles_at=iso_time_or_none(update.settles_at),
        slot=update.slot,
    )


def prices(price_yes: int) -> tuple[float, float]:
    """The prices of YES and NO in SOL per share, from the program's fixed point."""
    return price_yes / SCALE, (SCALE - price_yes) / SCALE
