"""What a market pays: its outcome and pool, the fees on its trades, and a wallet's claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from zmartd.errors import AboutMarket
from zmartd.http.errors.requests import MarketPending, PositionNotFound
from zmartd.http.kit import earlier_answers, keys
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Amount, StateName, Time, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.fees import FeeBody, fee_body
from zmartd.http.markets.lookup import any_market, chain_market
from zmartd.http.markets.schemas import Label, label_of
from zmartd.http.markets.situations import indexed_situation, rules_for
from zmartd.http.trading.position_valuation import value_positions
from zmartd.market.lifecycle import MarketState
from zmartd.market.next_bodies import step_time
from zmartd.market.next_steps import Action, PossibleStep, next_steps
from zmartd.realtime.market_summary import market_summary
from zmartd.realtime.snapshots import market_update
from zmartd.store import platform, positions
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.platform import ChargedFees

_DEADLINES = frozenset({Action.DISPUTE, Action.VOTE_ON_DISPUTE})


class Resolution(Struct, frozen=True, kw_only=True):
    """The final outcome of a market, and the pool that its winners share."""

    resolved: bool
    """Whether the market is FINALIZED, so that the outcome cannot change."""
    state: StateName
    """The market's state, by name."""
    proposed_outcome: bool | None
    """The outcome that the resolver proposed: true for YES, false for NO; null before that."""
    proposed_outcome_label: Label
    """The name of the proposed outcome; null while there is none."""
    final_outcome: bool | None
    """True for YES, false for NO; null before the market is finalized, and where all holders are refunded."""
    final_outcome_label: Label
    """The name of the final outcome; null while there is none."""
    current_liquidity: Amount
    """Lamports that the winners share, those that are paid out already as well."""
    liquidity_left: Amount
    """Lamports: what claims and the creator's withdrawal have left of current_liquidity."""
    total_winning_shares: Annotated[
        Amount,
        Meta(description="nine decimals, including the seed shares that nobody holds; 0 without an outcome"),
    ]
    disputed: bool
    """Whether the proposed outcome is disputed, or was before it became final."""
    deadline: Time | None
    """Until when the proposed outcome can be disputed; while it is disputed, until when holders vote on it.
    Null in other states."""
    final_not_before: Time | None
    """Before this time the outcome does not become final, unless an admin decides; null once it is final, and
    where no time decides."""
    winning_outcome: Annotated[Label, DEPRECATED]
    """The same as final_outcome_label."""
    total_pool: Annotated[Amount, DEPRECATED]
    """The same as current_liquidity."""


class ResolutionBody(Struct, frozen=True):
    resolution: Resolution
    """The market's outcome and pool, as they are now."""


class CollectedFees(FeeBody, frozen=True, kw_only=True):
    """The fees charged on a market's trades, paid out or not."""

    total_collected: Annotated[Amount, DEPRECATED]
    """The same as total."""
    protocol_collected: Annotated[Amount, DEPRECATED]
    """The same as protocol."""
    creator_collected: Annotated[Amount, DEPRECATED]
    """The same as lp."""
    staker_collected: Annotated[Amount, DEPRECATED]
    """The same as resolver."""


class CollectedFeesBody(Struct, frozen=True):
    fees: CollectedFees
    """The fees charged since the market's creation; zeros for a pending market."""


class PositionClaim(Struct, frozen=True, kw_only=True):
    """A wallet's shares in one market, and what it has claimed or can claim for them."""

    shares_yes: Amount
    """YES shares with nine decimals."""
    shares_no: Amount
    """NO shares with nine decimals."""
    claimable: Amount
    """Lamports that a claim would pay now; 0 before the market is finalized, and after the claim."""
    has_claimed: bool
    """Whether the wallet has claimed in this market."""
    claimed_amount: Amount
    """Lamports that the claim paid: winnings, or a refund without an outcome; 0 before it."""
    claimed: Annotated[bool, DEPRECATED]
    """The same as has_claimed."""
    claim_amount: Annotated[Amount, DEPRECATED]
    """claimed_amount once the wallet has claimed, claimable before that."""


class PositionClaimBody(Struct, frozen=True):
    position: PositionClaim
    """The wallet's position."""


async def get_resolution(call: Call[None]) -> ResolutionBody:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await chain_market(connection, call.path["id"])
    steps = next_steps(await indexed_situation(call.app, market), rules_for(call.app, market.rules))
    return ResolutionBody(_resolution(market, steps))


async def get_fees(call: Call[None]) -> CollectedFeesBody:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
        fees = await platform.fees_of(connection, market.id) or ChargedFees(0, 0, 0)
    body = fee_body(fees)
    return CollectedFeesBody(
        CollectedFees(
            **msgspec.structs.asdict(body),
            **earlier_answers.of_collected_fees(body.protocol, body.resolver, body.lp, body.total),
        )
    )


async def get_position_claim(call: Call[None]) -> PositionClaimBody:
    """Positions are private: only the wallet itself may read its own."""
    wallet, database = call.wallet, call.app[keys.DATABASE]
    async with database.reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
        found = await positions.find(connection, wallet, market.id)
    if found is None:
        raise PositionNotFound(AboutMarket(market.id))
    (valued,) = await value_positions(database, [found])
    position = valued.position
    claimable, claimed = amount(valued.valuation.claimable_lamports), amount(position.claimed_amount)
    return PositionClaimBody(
        PositionClaim(
            shares_yes=amount(max(position.shares_yes, 0)),
            shares_no=amount(max(position.shares_no, 0)),
            claimable=claimable,
            has_claimed=position.has_claimed,
            claimed_amount=claimed,
            **earlier_answers.of_a_claim(position.has_claimed, claimable, claimed),
        )
    )


def _resolution(market: MarketRow, steps: Sequence[PossibleStep]) -> Resolution:
    outcome = market.final_outcome
    shown = market_summary(market_update(market))
    winning_shares = amount(0)
    if outcome is not None:
        winning_shares = shown.shares_yes if outcome else shown.shares_no
    return Resolution(
        resolved=market.state is MarketState.FINALIZED,
        state=market.state.name,
        proposed_outcome=market.proposed_outcome,
        proposed_outcome_label=label_of(market.proposed_outcome),
        final_outcome=outcome,
        final_outcome_label=label_of(outcome),
        current_liquidity=shown.current_liquidity,
        liquidity_left=amount(market.liquidity_left),
        total_winning_shares=winning_shares,
        disputed=market.was_disputed or market.state is MarketState.DISPUTED,
        deadline=step_time(_first(one.closes_at for one in steps if one.action in _DEADLINES)),
        final_not_before=step_time(_first(one.opens_at for one in steps if one.action is Action.FINALIZE)),
        **earlier_answers.of_a_resolution(label_of(outcome), shown.current_liquidity),
    )


def _first(times: Iterable[int | None]) -> int | None:
    return next((time for time in times if time is not None), None)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/resolution",
        handler=get_resolution,
        shows_market=True,
        summary="The final outcome and the pool of a market",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: ResolutionBody},
        errors=(MarketNotFound, MarketPending),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/fees",
        handler=get_fees,
        shows_market=True,
        name="get_market_fees",
        summary="The fees charged on a market's trades",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: CollectedFeesBody},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/positions/{wallet}",
        handler=get_position_claim,
        shows_market=True,
        summary="The caller's own shares in a market and what they pay",
        tag="markets",
        replaced_by="get_position",
        responses={200: PositionClaimBody},
        errors=(MarketNotFound, PositionNotFound),
        access=Access.OWNER,
    ),
)
