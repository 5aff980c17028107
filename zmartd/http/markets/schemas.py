"""A market as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from zmartd.http.kit.fields import Amount, Commitment, MarketKey, Price, StateName, Time, amount, price
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.store.discovery import MarketDay
from zmartd.store.markets import MarketRow
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

    id: MarketKey
    on_chain_address: str
    """The address of the market's account on the chain, base58."""
    question: str
    """As its creator registered it; empty where nobody did."""
    description: str
    """As its creator registered it; empty where there is none."""
    category: str
    """As its creator registered it; `other` where nobody did."""
    tags: tuple[str, ...]
    """As its creator registered them."""
    creator_wallet: str | None
    """The address of the wallet that makes the market; null while only later events of it are known."""
    resolver_wallet: str | None = None
    """The address of the wallet that proposed the outcome; null before."""
    state: StateName = MarketState.PROPOSED.name
    """Where in its life the market is, by name."""
    status: StateName = MarketState.PROPOSED.name
    """The same as state."""
    state_code: int = MarketState.PROPOSED.value
    """The number that the program has for the state, from 0 to 6."""
    price_yes: Price = 0.5
    """SOL a share of YES, from 0 to 1."""
    price_no: Price = 0.5
    """SOL a share of NO, from 0 to 1: what price_yes leaves of 1."""
    shares_yes: Amount = "0"
    """All YES shares with nine decimals, the seed shares that nobody holds among them."""
    shares_no: Amount = "0"
    """All NO shares with nine decimals, the seed shares that nobody holds among them."""
    b_parameter: Amount | None
    """The liquidity parameter with nine decimals; null while only later events of the market are known."""
    initial_liquidity: Amount | None
    """Lamports that its creator puts in; null while they are not known."""
    current_liquidity: Amount = "0"
    """Lamports: the initial ones and those of purchases, less those of sales, all before fees."""
    total_volume: Amount = "0"
    """Lamports: purchases with fees and sales before fees."""
    trades_count: int = 0
    """All trades in the market."""
    resolver_is_creator: bool | None = None
    """Whether the market's creator proposed the outcome; null before. Any wallet can, on the chain."""
    proposed_outcome: bool | None = None
    """What its resolver says the outcome is: true for YES, false for NO; null before."""
    proposed_outcome_label: Label = None
    """The proposed outcome in words; null while there is none."""
    final_outcome: bool | None = None
    """True for YES, false for NO; null before the market is finalized, or when all are refunded."""
    final_outcome_label: Label = None
    """The final outcome in words; null while there is none."""
    was_disputed: bool = False
    """Whether the market was finalized after a dispute; false before."""
    awaiting_decision: bool = False
    """Whether the outcome becomes final only when an admin decides; see GET /api/markets/{id}/settlement."""
    settles_at: Time | None = None
    """When its dispute is settled as the votes say, unless an admin decides otherwise before; null where no
    settlement is announced."""
    proposal_likes: int = 0
    """Votes for the proposed market, as last recorded on the chain."""
    proposal_dislikes: int = 0
    """Votes against the proposed market, as last recorded on the chain."""
    proposal_total_votes: int = 0
    """Votes on the proposed market, as last recorded on the chain."""
    dispute_agree: int = 0
    """Votes for the dispute, as last recorded on the chain."""
    dispute_disagree: int = 0
    """Votes against the dispute, as last recorded on the chain."""
    dispute_total_votes: int = 0
    """Votes on the dispute, as last recorded on the chain."""
    ipfs_question_hash: str | None
    """The content id of its texts: on the chain, or as registered before that; null where unknown."""
    ipfs_evidence_hash: str | None = None
    """The content id of the evidence for the proposed outcome; null before, or where it is not a text."""
    metadata_verified: bool = False
    """Whether the texts here are the document whose content id is on the chain."""
    created_at: Time
    """When it was made on the chain; when it was registered, while it is not there."""
    approved_at: Time | None = None
    """When its proposal was approved on the chain; null before."""
    activated_at: Time | None = None
    """When trading began; null before."""
    resolution_proposed_at: Time | None = None
    """When its outcome was last proposed; null before."""
    dispute_initiated_at: Time | None = None
    """When its outcome was last disputed; null before."""
    finalized_at: Time | None = None
    """When its outcome became final; null before."""
    cancelled_at: Time | None = None
    """When it was cancelled; null where it was not."""
    end_date: Time | None
    """The end that its creator announced; null where nobody did. The program does not know it: trading goes
    on until an outcome is proposed.
    """
    expires_at: Time | None
    """The same as end_date, under the frontend's name for it."""
    chain_confirmed: bool = False
    """Whether its creation on the chain is indexed."""
    commitment: Commitment | None = None
    """How far the chain has settled on what is shown; null while the market is not on it."""
    slot: int | None = None
    """The slot of the last thing indexed of the market; null while it is not on the chain."""
    version: int = 0
    """Grows by one with each change: the `seq` of the market's WebSocket frames."""


class MarketDetail(MarketBody, frozen=True, kw_only=True):
    """One market under other names, too, that clients know some of its fields by."""

    yes_shares: Amount
    """The same as shares_yes."""
    no_shares: Amount
    """The same as shares_no."""
    total_yes_shares: Amount
    """The same as shares_yes."""
    total_no_shares: Amount
    """The same as shares_no."""
    creator: str | None
    """The same as creator_wallet."""
    ends_at: Time | None
    """The same as end_date."""
    liquidity_parameter: Amount | None
    """The same as b_parameter."""


class MarketToday(MarketDetail, frozen=True, kw_only=True):
    """One market read alone, with its last 24 hours."""

    change_24h: Annotated[float, Meta(description="of the price of YES, in percentage points")]
    volume_24h: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    traders_24h: int
    """Wallets that traded here in the last 24 hours."""
    traders: Annotated[int, Meta(description="wallets that have ever traded here")]


def market_body(market: MarketRow) -> MarketBody:
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
        resolver_is_creator=_is_creator(market),
        proposed_outcome=market.proposed_outcome,
        proposed_outcome_label=_label(market.proposed_outcome),
        final_outcome=market.final_outcome,
        final_outcome_label=_label(market.final_outcome),
        was_disputed=market.was_disputed,
        awaiting_decision=market.awaiting_decision,
        settles_at=_time(market.settles_at),
        proposal_likes=market.proposal_likes,
        proposal_dislikes=market.proposal_dislikes,
        proposal_total_votes=market.proposal_total_votes,
        dispute_agree=market.dispute_agree,
        dispute_disagree=market.dispute_disagree,
        dispute_total_votes=market.dispute_total_votes,
        ipfs_question_hash=market.ipfs_question_hash,
        ipfs_evidence_hash=market.ipfs_evidence_hash,
        metadata_verified=market.metadata_verified,
        created_at=iso_time(market.created_at),
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
        created_at=iso_time(registration.created_at),
        end_date=iso_time(metadata.end_date),
        expires_at=iso_time(metadata.end_date),
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
        traders_24h=0 if day is None else day.traders_24h,
        traders=0 if day is None else day.traders,
    )


def _label(outcome: bool | None) -> OutcomeLabel | None:
    return None if outcome is None else outcome_label(outcome)


def _is_creator(market: MarketRow) -> bool | None:
    return None if market.resolver_wallet is None else market.resolver_wallet == market.creator_wallet


def _amount(units: int | None) -> str | None:
    return None if units is None else amount(units)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso_time(moment)
