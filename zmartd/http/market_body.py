"""A market as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from zmartd.http.fields import Amount, Commitment, Price, StateName, Time, amount, price, time_text
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.store.discovery import MarketDay
from zmartd.store.markets import Market
from zmartd.store.metadata import Registration

OutcomeLabel = Literal["YES", "NO"]
Label = Annotated[OutcomeLabel | None, Meta(description="null while there is no outcome")]


def outcome_label(outcome: bool) -> OutcomeLabel:
    """An outcome in words."""
    return "YES" if outcome else "NO"


class MarketBody(Struct, frozen=True, kw_only=True):
    """One market. Amounts are lamports or shares with nine decimals; prices are SOL a share.

    The defaults are a market that its creator registered and that is not on the chain yet: no `slot`, and
    `chain_confirmed` false.
    """

    id: str
    on_chain_address: str
    question: str
    description: str
    category: str
    tags: tuple[str, ...]
    creator_wallet: str | None
    resolver_wallet: str | None = None
    state: StateName = MarketState.PROPOSED.name
    status: StateName = MarketState.PROPOSED.name
    state_code: int = MarketState.PROPOSED.value
    price_yes: Price = 0.5
    price_no: Price = 0.5
    shares_yes: Amount = "0"
    shares_no: Amount = "0"
    b_parameter: Amount | None
    initial_liquidity: Amount | None
    current_liquidity: Amount = "0"
    total_volume: Amount = "0"
    trades_count: int = 0
    proposed_outcome: bool | None = None
    proposed_outcome_label: Label = None
    final_outcome: bool | None = None
    final_outcome_label: Label = None
    was_disputed: bool = False
    proposal_likes: int = 0
    proposal_dislikes: int = 0
    proposal_total_votes: int = 0
    dispute_agree: int = 0
    dispute_disagree: int = 0
    dispute_total_votes: int = 0
    ipfs_question_hash: str | None
    ipfs_evidence_hash: str | None = None
    metadata_verified: bool = False
    created_at: Time
    approved_at: Time | None = None
    activated_at: Time | None = None
    resolution_proposed_at: Time | None = None
    dispute_initiated_at: Time | None = None
    finalized_at: Time | None = None
    cancelled_at: Time | None = None
    end_date: Time | None
    expires_at: Time | None
    chain_confirmed: bool = False
    commitment: Commitment | None = None
    slot: int | None = None
    version: int = 0


class MarketDetail(MarketBody, frozen=True, kw_only=True):
    """One market under other names, too, that clients know some of its fields by."""

    yes_shares: Amount
    no_shares: Amount
    total_yes_shares: Amount
    total_no_shares: Amount
    creator: str | None
    ends_at: Time | None
    liquidity_parameter: Amount | None


class MarketToday(MarketDetail, frozen=True, kw_only=True):
    """One market read alone, with its last 24 hours."""

    change_24h: Annotated[float, Meta(description="of the price of YES, in percentage points")]
    volume_24h: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    traders_24h: int
    traders: Annotated[int, Meta(description="wallets that have ever traded here")]


def market_body(market: Market) -> MarketBody:
    """A market of the chain."""
    return MarketBody(
        id=market.id,
        on_chain_address=market.on_chain_address,
        question=market.question,
        description=market.description,
        category=market.category,
        tags=market.tags,
        creator_wallet=market.creator_wallet,
        resolver_wallet=market.resolver_wallet,
        state=market.state.name,
        status=market.state.name,
        state_code=market.state.value,
        price_yes=price(market.price_yes),
        price_no=price(SCALE - market.price_yes),
        shares_yes=amount(market.shares_yes),
        shares_no=amount(market.shares_no),
        b_parameter=_amount(market.b_parameter),
        initial_liquidity=_amount(market.initial_liquidity),
        current_liquidity=amount(market.current_liquidity),
        total_volume=amount(market.total_volume),
        trades_count=market.trades_count,
        proposed_outcome=market.proposed_outcome,
        proposed_outcome_label=_label(market.proposed_outcome),
        final_outcome=market.final_outcome,
        final_outcome_label=_label(market.final_outcome),
        was_disputed=market.was_disputed,
        proposal_likes=market.proposal_likes,
        proposal_dislikes=market.proposal_dislikes,
        proposal_total_votes=market.proposal_total_votes,
        dispute_agree=market.dispute_agree,
        dispute_disagree=market.dispute_disagree,
        dispute_total_votes=market.dispute_total_votes,
        ipfs_question_hash=market.ipfs_question_hash,
        ipfs_evidence_hash=market.ipfs_evidence_hash,
        metadata_verified=market.metadata_verified,
        created_at=time_text(market.created_at),
        approved_at=_time(market.approved_at),
        activated_at=_time(market.activated_at),
        resolution_proposed_at=_time(market.resolution_proposed_at),
        dispute_initiated_at=_time(market.dispute_initiated_at),
        finalized_at=_time(market.finalized_at),
        cancelled_at=_time(market.cancelled_at),
        end_date=_time(market.end_date),
        expires_at=_time(market.end_date),
        chain_confirmed=market.chain_confirmed,
        commitment=market.commitment,
        slot=market.slot,
        version=market.version,
    )


def pending_body(registration: Registration) -> MarketBody:
    """A market that its creator registered and that is not on the chain yet."""
    metadata = registration.metadata
    return MarketBody(
        id=metadata.market_id,
        on_chain_address=metadata.on_chain_address,
        question=metadata.question,
        description=metadata.description,
        category=metadata.category,
        tags=metadata.tags,
        creator_wallet=metadata.creator_wallet,
        b_parameter=amount(metadata.b_parameter),
        initial_liquidity=amount(metadata.initial_liquidity),
        ipfs_question_hash=metadata.cid,
        created_at=time_text(registration.created_at),
        end_date=time_text(metadata.end_date),
        expires_at=time_text(metadata.end_date),
    )


def market_detail(body: MarketBody) -> MarketDetail:
    """The same market with its other names."""
    return MarketDetail(
        **msgspec.structs.asdict(body),
        yes_shares=body.shares_yes,
        no_shares=body.shares_no,
        total_yes_shares=body.shares_yes,
        total_no_shares=body.shares_no,
        creator=body.creator_wallet,
        ends_at=body.end_date,
        liquidity_parameter=body.b_parameter,
    )


def market_today(body: MarketBody, day: MarketDay | None) -> MarketToday:
    """The same market with its last day, which there is none of before it is on the chain."""
    return MarketToday(
        **msgspec.structs.asdict(market_detail(body)),
        change_24h=0.0 if day is None else day.change_points,
        volume_24h="0" if day is None else amount(day.volume),
        traders_24h=0 if day is None else day.traders_lately,
        traders=0 if day is None else day.traders,
    )


def _label(outcome: bool | None) -> OutcomeLabel | None:
    return None if outcome is None else outcome_label(outcome)


def _amount(units: int | None) -> str | None:
    return None if units is None else amount(units)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else time_text(moment)
