"""What a market's state looks like in JSON: the same in the REST API and in WebSocket frames."""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.iso_time import iso_time_or_none
from zmartd.market.json_fields import Amount, Price, StateName, Time
from zmartd.market.lmsr import SCALE
from zmartd.realtime.messages import MarketUpdate


class MarketSummary(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits, prices as numbers from 0 to 1."""

    on_chain_address: str
    """The address of the market's account on the chain, base58."""
    state: StateName
    """The market's state, by name."""
    state_code: int
    """The program's number of the state, from 0 to 6."""
    price_yes: Price
    """The price of a YES share in SOL, from 0 to 1."""
    price_no: Price
    """The price of a NO share in SOL, from 0 to 1: 1 - price_yes."""
    shares_yes: Amount
    """All YES shares with nine decimals, including the seed shares that nobody holds."""
    shares_no: Amount
    """All NO shares with nine decimals, including the seed shares that nobody holds."""
    b_parameter: Amount
    """The liquidity parameter with nine decimals."""
    total_volume: Amount
    """Lamports: purchases with fees and sales before fees."""
    current_liquidity: Amount
    """Lamports: initial_liquidity plus purchases less sales, both before fees. What is paid out once the
    market is over does not lower it: see liquidity_left."""
    proposed_outcome: bool | None
    """The outcome that the resolver proposed: true for YES, false for NO; null before that."""
    final_outcome: bool | None
    """True for YES, false for NO; null before the market is finalized, and where all holders are refunded."""
    awaiting_admin_approval: bool
    """Whether the votes on the proposed market are enough and recorded on the chain, and the program's admin
    still has to approve it. False where the backend approves by itself."""
    awaiting_decision: bool
    """Whether the outcome becomes final only when an admin decides; see GET /api/markets/{id}/settlement."""
    settles_at: Time | None
    """When the dispute will be settled by its votes, unless an admin decides before; null while no settlement
    is announced."""
    slot: int | None
    """The slot of the market's last indexed change; null for a pending market."""


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
        awaiting_admin_approval=update.awaiting_admin_approval,
        awaiting_decision=update.awaiting_decision,
        settles_at=iso_time_or_none(update.settles_at),
        slot=update.slot,
    )


def prices(price_yes: int) -> tuple[float, float]:
    """The prices of YES and NO in SOL per share, from the program's fixed point."""
    return price_yes / SCALE, (SCALE - price_yes) / SCALE
