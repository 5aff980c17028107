"""What a market's state looks like in JSON: the same in the REST API and in WebSocket frames."""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.iso_time import iso_time_or_none
from zmartd.market.lmsr import SCALE
from zmartd.realtime.messages import MarketUpdate


class MarketSummary(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits, prices as numbers from 0 to 1."""

    on_chain_address: str
    """Its account on the chain."""
    state: str
    """The name of its state, such as ACTIVE."""
    state_code: int
    """The program's number for the state."""
    price_yes: float
    """What a share of YES costs, in SOL."""
    price_no: float
    """What a share of NO costs, in SOL."""
    shares_yes: str
    """Shares of YES that wallets hold."""
    shares_no: str
    """Shares of NO that wallets hold."""
    b_parameter: str
    """The curve's liquidity parameter, in shares."""
    total_volume: str
    """Lamports traded so far, before fees."""
    current_liquidity: str
    """Lamports in the market's account."""
    proposed_outcome: bool | None
    """The outcome that was proposed, true for YES; null before one was."""
    final_outcome: bool | None
    """The outcome that is final, true for YES; null before one is."""
    awaiting_decision: bool
    """Whether the votes settle nothing, so that the admin decides."""
    settles_at: str | None
    """When the outcome becomes final by itself, if nobody disputes it; null where that is not known."""
    slot: int | None
    """The slot of the last change; null for a market that only the API knows."""


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
