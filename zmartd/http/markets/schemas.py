"""A market in the JSON of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from msgspec import Meta, Struct

from zmartd.http.kit import earlier_answers
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import (
    Amount,
    Commitment,
    EitherTime,
    Field,
    MarketKey,
    Price,
    PriceChange,
    StateName,
    Time,
    amount,
)
from zmartd.http.markets.evidence import EvidenceBody, evidence_body
from zmartd.market.evidence import EvidenceKind
from zmartd.market.iso_time import has_come, iso_time, iso_time_or_none
from zmartd.market.lifecycle import MarketState
from zmartd.market.next_bodies import NextStep
from zmartd.market.proposal import ResolutionTexts
from zmartd.realtime.market_summary import market_summary
from zmartd.realtime.snapshots import market_update
from zmartd.store.discovery import MarketDay
from zmartd.store.evidence import Evidence
from zmartd.store.markets import MarketRow
from zmartd.store.metadata import Registration

OutcomeLabel = Literal["YES", "NO"]
_OUTCOMES = {"true": True, "false": False, "YES": True, "NO": False}
Label = Annotated[OutcomeLabel | None, Meta(description="null while there is no outcome")]


class OutcomeFilter(Field, int):
    """An outcome in a query: true or false. Its name, YES or NO, is understood as well."""

    schema: ClassVar[dict[str, Any]] = {"type": "boolean"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        outcome = _OUTCOMES.get(raw) if isinstance(raw, str) else None
        if outcome is None:
            raise ValueError("not an outcome")
        return cls(outcome)


def outcome_label(outcome: bool) -> OutcomeLabel:
    """The name of an outcome."""
    return "YES" if outcome else "NO"


def label_of(outcome: bool | None) -> OutcomeLabel | None:
    """The name of an outcome, where there is one."""
    return None if outcome is None else outcome_label(outcome)


class MarketBody(Struct, frozen=True, kw_only=True):
    """One market. Money is in lamports, shares have nine decimals, prices are in SOL per share.

    A pending market, which its creator has registered and which is not on the chain yet, has no `slot`, and
    `chain_confirmed` is false.
    """

    id: MarketKey
    on_chain_address: str
    """The address of the market's account on the chain, base58."""
    slug: str | None
    """The market's name in URLs, for GET /api/markets/by-slug/{slug}. It is made of the question, and never
    changes. Null for a pending market, and for one that was not registered."""
    question: str
    """As the creator registered it; empty for a market that was not registered."""
    description: str
    """As the creator registered it; empty where there is none."""
    category: str
    """As the creator registered it; `other` for a market that was not registered."""
    tags: tuple[str, ...]
    """As the creator registered them."""
    image_url: str | None
    """The https URL of a picture, as the creator registered it; null where there is none."""
    creator_wallet: str | None
    """The address of the wallet that creates the market; null while its creation is not indexed."""
    resolver_wallet: str | None = None
    """The address of the wallet that proposed the outcome; null before that."""
    state: StateName = MarketState.PROPOSED.name
    """The market's state, by name."""
    state_code: int = MarketState.PROPOSED.value
    """The program's number of the state, from 0 to 6."""
    price_yes: Price = 0.5
    """The price of a YES share in SOL, from 0 to 1."""
    price_no: Price = 0.5
    """The price of a NO share in SOL, from 0 to 1: 1 - price_yes."""
    shares_yes: Amount = "0"
    """All YES shares with nine decimals, including the seed shares that nobody holds."""
    shares_no: Amount = "0"
    """All NO shares with nine decimals, including the seed shares that nobody holds."""
    b_parameter: Amount | None
    """The liquidity parameter with nine decimals; null while the market's creation is not indexed."""
    initial_liquidity: Amount | None
    """Lamports that the creator puts in; null while the market's creation is not indexed."""
    current_liquidity: Amount = "0"
    """Lamports: initial_liquidity plus purchases less sales, both before fees. What is paid out once the
    market is over does not lower it: see liquidity_left."""
    liquidity_left: Amount = "0"
    """Lamports: what claims and the creator's withdrawal have left of current_liquidity."""
    total_volume: Amount = "0"
    """Lamports: purchases with fees and sales before fees."""
    trades_count: int = 0
    """The number of trades in the market."""
    resolver_is_creator: bool | None = None
    """Whether the creator proposed the outcome; null before that. The program lets any wallet propose one."""
    proposed_outcome: bool | None = None
    """The outcome that the resolver proposed: true for YES, false for NO; null before that."""
    proposed_outcome_label: Label = None
    """The name of the proposed outcome; null while there is none."""
    final_outcome: bool | None = None
    """True for YES, false for NO; null before the market is finalized, and where all holders are refunded."""
    final_outcome_label: Label = None
    """The name of the final outcome; null while there is none."""
    was_disputed: bool = False
    """Whether the market was finalized after a dispute; false before it is finalized."""
    awaiting_admin_approval: bool = False
    """Whether the votes on the proposed market are enough and recorded on the chain, and the program's admin
    still has to approve it. False where the backend approves by itself."""
    awaiting_decision: bool = False
    """Whether the outcome becomes final only when an admin decides; see GET /api/markets/{id}/settlement."""
    settles_at: Time | None = None
    """When the dispute will be settled by its votes, unless an admin decides before; null while no settlement
    is announced."""
    proposal_likes: int = 0
    """The number of votes for the proposed market, as last recorded on the chain."""
    proposal_dislikes: int = 0
    """The number of votes against the proposed market, as last recorded on the chain."""
    proposal_total_votes: int = 0
    """The number of votes on the proposed market, as last recorded on the chain."""
    dispute_agree: int = 0
    """The number of votes for the dispute, as last recorded on the chain."""
    dispute_disagree: int = 0
    """The number of votes against the dispute, as last recorded on the chain."""
    dispute_total_votes: int = 0
    """The number of votes on the dispute, as last recorded on the chain."""
    question_cid: str | None
    """The content id of the market's texts: the one on the chain, or for a pending market the registered one;
    null while it is not known."""
    evidence_cid: str | None = None
    """The content id of the evidence for the proposed outcome; null before that, and where it is not text."""
    metadata_verified: bool = False
    """Whether the texts shown here are those whose content id is on the chain. False for a pending market,
    and where no such texts are registered: then there are none here."""
    created_at: EitherTime
    """When the market was created on the chain, by the chain's clock; when it was registered, by the server's
    clock, for a pending market."""
    approved_at: Time | None = None
    """When the proposed market was approved; null before that."""
    activated_at: Time | None = None
    """When trading began; null before that."""
    resolution_proposed_at: Time | None = None
    """When an outcome was last proposed; null before that."""
    dispute_initiated_at: Time | None = None
    """When the proposed outcome was last disputed; null before that."""
    finalized_at: Time | None = None
    """When the outcome became final; null before that."""
    cancelled_at: Time | None = None
    """When the market was cancelled; null where it was not."""
    end_date: Time | None
    """The expected end, as the creator announced it; null for a market that was not registered. The program
    does not know it: trading goes on until an outcome is proposed.
    """
    ended: bool = False
    """Whether end_date has come, by the chain's clock. Trading may still go on: see state."""
    chain_confirmed: bool = False
    """Whether the market's creation on the chain is indexed."""
    commitment: Commitment | None = None
    """The commitment of what is shown; null for a pending market."""
    slot: int | None = None
    """The slot of the market's last indexed change; null for a pending market."""
    version: int = 0
    """Grows by one with each change of what is shown here of the chain."""
    stream_position: str | None = None
    """How far the market's stream had come in the same read, `epoch:seq`: a subscription over the WebSocket
    `since` it tells what came after. Null for a pending market."""
    next: tuple[NextStep, ...]
    """What can happen next, in the order of a market's life."""
    status: Annotated[StateName, DEPRECATED]
    """The same as state."""
    expires_at: Annotated[Time | None, DEPRECATED]
    """The same as end_date."""
    ipfs_question_hash: Annotated[str | None, DEPRECATED]
    """The same as question_cid."""
    ipfs_evidence_hash: Annotated[str | None, DEPRECATED]
    """The same as evidence_cid."""


class MarketDetail(MarketBody, frozen=True, kw_only=True):
    """One market, with how it is resolved, and some fields also under the names of earlier clients."""

    resolution_rules: str
    """How the outcome is found, as the creator registered it; empty where there is no such text."""
    resolution_sources: tuple[str, ...]
    """The https URLs where it is looked for, as the creator registered them."""
    yes_shares: Annotated[Amount, DEPRECATED]
    """The same as shares_yes."""
    no_shares: Annotated[Amount, DEPRECATED]
    """The same as shares_no."""
    total_yes_shares: Annotated[Amount, DEPRECATED]
    """The same as shares_yes."""
    total_no_shares: Annotated[Amount, DEPRECATED]
    """The same as shares_no."""
    creator: Annotated[str | None, DEPRECATED]
    """The same as creator_wallet."""
    ends_at: Annotated[Time | None, DEPRECATED]
    """The same as end_date."""
    liquidity_parameter: Annotated[Amount | None, DEPRECATED]
    """The same as b_parameter."""


class MarketDetail24h(MarketDetail, frozen=True, kw_only=True):
    """One market, with its last 24 hours."""

    change_24h: PriceChange
    volume_24h: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    traders_24h: int
    """The number of wallets that traded in the market in the last 24 hours."""
    traders_count: Annotated[
        int, Meta(description="the number of wallets that have ever traded in the market")
    ]
    resolution_evidence: EvidenceBody | None
    """What the resolver handed in for the proposed outcome, and why it is early, if it is; null before an
    outcome is proposed, and where the resolver handed in nothing through the API."""
    dispute_evidence: EvidenceBody | None
    """What the holder handed in that disputed the outcome; null where nobody did."""


def market_body(market: MarketRow, steps: tuple[NextStep, ...], now: int) -> MarketBody:
    """The JSON of a market on the chain, and of what can happen next, at the chain's time `now`."""
    shared = msgspec.structs.asdict(market_summary(market_update(market)))
    # A frame says "0" where a market's creation is not indexed.
    shared["b_parameter"] = _amount(market.b_parameter)
    return MarketBody(
        **shared,
        id=market.id,
        slug=market.slug,
        image_url=market.image_url,
        question=market.question,
        description=market.description,
        category=market.category,
        tags=market.tags,
        creator_wallet=market.creator_wallet,
        resolver_wallet=market.resolver_wallet,
        initial_liquidity=_amount(market.initial_liquidity),
        trades_count=market.trades_count,
        liquidity_left=amount(market.liquidity_left),
        resolver_is_creator=_resolver_is_creator(market),
        proposed_outcome_label=label_of(market.proposed_outcome),
        final_outcome_label=label_of(market.final_outcome),
        was_disputed=market.was_disputed,
        proposal_likes=market.proposal_likes,
        proposal_dislikes=market.proposal_dislikes,
        proposal_total_votes=market.proposal_total_votes,
        dispute_agree=market.dispute_agree,
        dispute_disagree=market.dispute_disagree,
        dispute_total_votes=market.dispute_total_votes,
        question_cid=market.ipfs_question_hash,
        evidence_cid=market.ipfs_evidence_hash,
        metadata_verified=market.metadata_verified,
        created_at=iso_time(market.created_at),
        approved_at=iso_time_or_none(market.approved_at),
        activated_at=iso_time_or_none(market.activated_at),
        resolution_proposed_at=iso_time_or_none(market.resolution_proposed_at),
        dispute_initiated_at=iso_time_or_none(market.dispute_initiated_at),
        finalized_at=iso_time_or_none(market.finalized_at),
        cancelled_at=iso_time_or_none(market.cancelled_at),
        end_date=iso_time_or_none(market.end_date),
        ended=has_come(market.end_date, now),
        chain_confirmed=market.chain_confirmed,
        commitment=market.commitment,
        version=market.version,
        stream_position=str(market.stream_position),
        next=steps,
        **earlier_answers.of_a_market(
            market.state.name,
            iso_time_or_none(market.end_date),
            market.ipfs_question_hash,
            market.ipfs_evidence_hash,
        ),
    )


def pending_market_body(registration: Registration, steps: tuple[NextStep, ...], now: int) -> MarketBody:
    """The JSON of a pending market: registered by its creator, and not on the chain yet at the chain's time
    `now`.
    """
    metadata = registration.metadata
    return MarketBody(
        id=metadata.market_id,
        on_chain_address=metadata.on_chain_address,
        slug=registration.slug,
        image_url=metadata.image_url,
        question=metadata.question,
        description=metadata.description,
        category=metadata.category,
        tags=metadata.tags,
        creator_wallet=metadata.creator_wallet,
        b_parameter=amount(metadata.b_parameter),
        initial_liquidity=amount(metadata.initial_liquidity),
        question_cid=metadata.cid,
        created_at=iso_time(registration.created_at),
        end_date=iso_time(metadata.end_date),
        ended=has_come(metadata.end_date, now),
        next=steps,
        **earlier_answers.of_a_market(
            MarketState.PROPOSED.name, iso_time(metadata.end_date), metadata.cid, None
        ),
    )


def market_detail(body: MarketBody, texts: ResolutionTexts) -> MarketDetail:
    """`body` with how the market is resolved, and the other names of its fields."""
    return MarketDetail(
        **msgspec.structs.asdict(body),
        resolution_rules=texts.resolution_rules,
        resolution_sources=texts.resolution_sources,
        **earlier_answers.of_a_single_market(
            body.shares_yes, body.shares_no, body.creator_wallet, body.end_date, body.b_parameter
        ),
    )


def market_detail_24h(
    body: MarketBody,
    day: MarketDay | None,
    texts: ResolutionTexts,
    evidence: Mapping[EvidenceKind, Evidence],
) -> MarketDetail24h:
    """`body` with the market's last 24 hours, how it is resolved and the evidence.

    `day` is None for a pending market.
    """
    return MarketDetail24h(
        **msgspec.structs.asdict(market_detail(body, texts)),
        change_24h=0.0 if day is None else day.price_change,
        volume_24h="0" if day is None else amount(day.volume),
        traders_24h=0 if day is None else day.traders_24h,
        traders_count=0 if day is None else day.traders,
        resolution_evidence=evidence_body(evidence.get("resolution")),
        dispute_evidence=evidence_body(evidence.get("dispute")),
    )


def _resolver_is_creator(market: MarketRow) -> bool | None:
    return None if market.resolver_wallet is None else market.resolver_wallet == market.creator_wallet


def _amount(units: int | None) -> str | None:
    return None if units is None else amount(units)
