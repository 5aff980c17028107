"""The facts that accounts and the index both have: what an audit compares, and what a correction sets."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

Value = int | str | bool | None


class MarketFacts(Struct, frozen=True):
    """One market. Amounts are lamports or shares with nine decimals, times unix seconds, 0 for never."""

    creator: str | None
    state: str
    b_parameter: int | None
    initial_liquidity: int | None
    current_liquidity: int
    shares_yes: int
    shares_no: int
    price_yes: int
    """1e9 is 1.0."""
    total_volume: int
    accumulated_protocol_fees: int
    accumulated_resolver_fees: int
    accumulated_lp_fees: int
    proposal_likes: int
    proposal_dislikes: int
    dispute_agree: int
    dispute_disagree: int
    proposal_votes: int
    """Votes that wallets cast on the chain itself."""
    dispute_votes: int
    proposed_outcome: bool | None
    final_outcome: bool | None
    was_disputed: bool
    resolver: str | None
    dispute_initiator: str | None
    content_id: str | None
    """The question's; after a resolution its evidence's, which the program stores in the same place."""
    created_at: int
    approved_at: int
    activated_at: int
    resolution_proposed_at: int
    dispute_initiated_at: int
    finalized_at: int
    cancelled_at: int
    trades_count: int
    trades: int
    """The number of single trades on record; the next two are sums over them."""
    trades_volume: int
    trades_protocol_fees: int


class PositionFacts(Struct, frozen=True):
    """One wallet's position in one market."""

    shares_yes: int
    shares_no: int
    total_invested: int
    total_returned: int
    trades_count: int
    last_trade_at: int
    has_claimed: bool
    claimed_amount: int


class ConfigurationFacts(Struct, frozen=True):
    """The program's configuration; a field is None if no indexed event sets it."""

    is_paused: bool | None = None
    admin: str | None = None
    backend_authority: str | None = None
    protocol_fee_bps: int | None = None
    resolver_reward_bps: int | None = None
    liquidity_provider_fee_bps: int | None = None
    proposal_approval_threshold: int | None = None
    dispute_success_threshold: int | None = None
    min_resolution_delay: int | None = None
    dispute_period: int | None = None


COUNTED_FACTS: Final = (
    "trades",
    "trades_volume",
    "trades_protocol_fees",
    "proposal_votes",
    "dispute_votes",
)
"""Facts of a market that are no columns of its row, but counts of other rows."""

MARKET_FACTS: Final = """
creator_wallet as creator, state, b_parameter, initial_liquidity, current_liquidity, shares_yes, shares_no,
(current_price_yes * 1000000000)::bigint as price_yes, total_volume, accumulated_protocol_fees,
accumulated_resolver_fees, accumulated_lp_fees, proposal_likes, proposal_dislikes, dispute_agree,
dispute_disagree, proposed_outcome, final_outcome, was_disputed, resolver_wallet as resolver,
dispute_initiator,
case when resolution_proposed_at is null then ipfs_question_hash else ipfs_evidence_hash end as content_id,
coalesce(extract(epoch from market.created_at)::bigint, 0) as created_at,
coalesce(extract(epoch from approved_at)::bigint, 0) as approved_at,
coalesce(extract(epoch from activated_at)::bigint, 0) as activated_at,
coalesce(extract(epoch from resolution_proposed_at)::bigint, 0) as resolution_proposed_at,
coalesce(extract(epoch from dispute_initiated_at)::bigint, 0) as dispute_initiated_at,
coalesce(extract(epoch from finalized_at)::bigint, 0) as finalized_at,
coalesce(extract(epoch from cancelled_at)::bigint, 0) as cancelled_at, trades_count
"""
"""Selects the other facts of a row of markets, which has to be called `market`."""

POSITION_FACTS: Final = """
held.shares_yes, held.shares_no, total_invested, total_returned, held.trades_count,
coalesce(extract(epoch from last_trade_at)::bigint, 0) as last_trade_at, has_claimed, claimed_amount
"""
"""Selects the facts of a row of user_positions, which has to be called `held`."""
