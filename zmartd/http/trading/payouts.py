"""How a market ended, what it earned, and what a wallet gets of it: few words, for who settles."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.errors.requests import MarketPending, PositionNotFound
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market, find_market
from zmartd.http.markets.schemas import OutcomeLabel, outcome_label
from zmartd.http.trading.position_valuation import value_positions
from zmartd.market.lifecycle import MarketState
from zmartd.store import platform, positions
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.platform import ChargedFees
from zmartd.store.postgres.rls import Caller


class Resolution(Struct, frozen=True, kw_only=True):
    """How a market ended; `resolved` only when nothing can change it any more."""

    resolved: bool
    """Whether the market is FINALIZED."""
    winning_outcome: Annotated[
        OutcomeLabel | None, Meta(description="null while there is none, or when all are refunded")
    ]
    total_pool: Annotated[Amount, Meta(description="the lamports that winners share")]
    total_winning_shares: Annotated[
        Amount, Meta(description="with nine decimals and the seed shares, which nobody holds")
    ]


class ResolutionBody(Struct, frozen=True):
    resolution: Resolution
    """How the market ended, or stands until then."""


class CollectedFees(Struct, frozen=True, kw_only=True):
    """What a market's trades have been charged, in lamports, whether it was paid out or not.

    What the liquidity earned is the creator's; `staker_collected` is the resolver's.
    """

    total_collected: Amount
    """Lamports: all parts together."""
    protocol_collected: Amount
    """Lamports for the protocol."""
    creator_collected: Amount
    """Lamports for the market's creator, for the liquidity."""
    staker_collected: Amount
    """Lamports for the resolver."""


class CollectedFeesBody(Struct, frozen=True):
    fees: CollectedFees
    """All that the market's trades were charged; zeros before it is on the chain."""


class Stake(Struct, frozen=True, kw_only=True):
    """A wallet's shares in one market, and what it claimed or can claim for them."""

    shares_yes: Amount
    """YES shares with nine decimals."""
    shares_no: Amount
    """NO shares with nine decimals."""
    claimed: bool
    """Whether the wallet has claimed."""
    claim_amount: Amount
    """Lamports that the wallet got by its claim or, before that, would get now; 0 until the market is
    finalized."""


class StakeBody(Struct, frozen=True):
    position: Stake
    """What the wallet holds."""


async def get_resolution(call: Call[None]) -> ResolutionBody:
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await chain_market(connection, call.path["id"])
    return ResolutionBody(_resolution(market))


async def get_fees(call: Call[None]) -> CollectedFeesBody:
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
        fees = await platform.fees_of(connection, market.id) or ChargedFees(0, 0, 0)
    return CollectedFeesBody(
        CollectedFees(
            total_collected=amount(fees.total),
            protocol_collected=amount(fees.protocol),
            creator_collected=amount(fees.lp),
            staker_collected=amount(fees.resolver),
        )
    )


async def get_stake(call: Call[None]) -> StakeBody:
    """One's own alone: positions are private."""
    wallet, database = call.wallet, call.app[keys.DATABASE]
    async with database.caller(Caller(wallet)) as connection:
        market = await find_market(connection, call.path["id"])
        position = await positions.find(connection, wallet, market.id)
    if position is None:
        raise PositionNotFound(market_id=market.id)
    (valued,) = await value_positions(database, [position])
    claim = position.claimed_amount if position.has_claimed else valued.valuation.claimable_lamports
    return StakeBody(
        Stake(
            shares_yes=amount(max(position.shares_yes, 0)),
            shares_no=amount(max(position.shares_no, 0)),
            claimed=position.has_claimed,
            claim_amount=amount(claim),
        )
    )


def _resolution(market: MarketRow) -> Resolution:
    outcome = market.final_outcome
    winning_shares = 0
    if outcome is not None:
        winning_shares = market.shares_yes if outcome else market.shares_no
    return Resolution(
        resolved=market.state is MarketState.FINALIZED,
        winning_outcome=None if outcome is None else outcome_label(outcome),
        total_pool=amount(market.current_liquidity),
        total_winning_shares=amount(winning_shares),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/resolution",
        handler=get_resolution,
        summary="How a market ended",
        tag="markets",
        answers={200: ResolutionBody},
        errors=(MarketNotFound, MarketPending),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/fees",
        handler=get_fees,
        summary="What a market's trades have been charged",
        tag="markets",
        answers={200: CollectedFeesBody},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/positions/{wallet}",
        handler=get_stake,
        summary="One's own shares in a market and what can be claimed for them",
        tag="markets",
        answers={200: StakeBody},
        errors=(MarketNotFound, PositionNotFound),
        access=Access.OWNER,
    ),
)
