"""What belongs to one wallet, for that wallet's eyes only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from zmartd.http import keys
from zmartd.http.auth.identity import require_wallet
from zmartd.http.codec import json_response
from zmartd.http.errors import InvalidRequest, NotYours, PositionNotFound, Problem
from zmartd.http.fields import Amount, Price, SignedAmount, Time, Wallet, amount, price, time_text
from zmartd.http.markets import find_market, market_ref
from zmartd.market import payouts
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.store import positions
from zmartd.store.pool import Database
from zmartd.store.positions import Position
from zmartd.store.rls import Caller

_WALLET_RULE = "must be a wallet's address, base58 of 32 bytes"


class PositionBody(Struct, frozen=True, kw_only=True):
    """A wallet's holding in one market. Amounts are lamports, shares have nine decimals.

    `state` is the state's number, as portfolios index their labels by it. An open position is worth its
    shares at the market's price; a finalized one what can be claimed. Profit and loss are against what was
    paid in and not taken out: unrealized until the claim, realized with it.
    """

    market_id: str
    on_chain_address: str
    question: str
    state: int
    state_name: str
    price_yes: Price
    price_no: Price
    shares_yes: Amount
    shares_no: Amount
    total_invested: Amount
    total_returned: Amount
    current_value: Amount
    unrealized_pnl: SignedAmount
    realized_pnl: SignedAmount
    roi: Annotated[float, Meta(description="total profit in percent of what was invested")]
    claimable: Amount
    has_claimed: bool
    claimed_amount: Amount
    proposed_outcome: bool | None
    final_outcome: bool | None
    trades_count: int
    first_trade_at: Time | None
    last_trade_at: Time | None
    claimed_at: Time | None
    slot: int


async def list_positions(request: web.Request) -> web.Response:
    """GET /api/users/{wallet}/positions: a bare array, last traded first."""
    wallet = _own_wallet(request)
    database = request.app[keys.DATABASE]
    async with database.caller(Caller(wallet)) as connection:
        held = await positions.of_wallet(connection, wallet)
    refundable = await _refundable(database, held)
    return json_response([_body(position, refundable) for position in held])


async def get_position(request: web.Request) -> web.Response:
    """GET /api/users/{wallet}/positions/{id}."""
    wallet = _own_wallet(request)
    database = request.app[keys.DATABASE]
    async with database.caller(Caller(wallet)) as connection:
        market = await find_market(connection, market_ref(request))
        position = await positions.find(connection, wallet, market.id)
    if position is None:
        raise PositionNotFound(market_id=market.id)
    return json_response(_body(position, await _refundable(database, [position])))


def _own_wallet(request: web.Request) -> str:
    """The wallet in the path, which has to be the caller's. Raises InvalidRequest, AuthMissing, NotYours."""
    try:
        wallet = str(Wallet.parse(request.match_info["wallet"]))
    except ValueError as error:
        raise InvalidRequest(Problem("wallet", _WALLET_RULE)) from error
    if require_wallet(request) != wallet:
        raise NotYours
    return wallet


async def _refundable(database: Database, held: Sequence[Position]) -> Mapping[str, int]:
    """What all holders of the markets that ended without an outcome are owed together, by market."""
    invalid = [position.market.id for position in held if _is_refunded(position)]
    if not invalid:
        return {}
    async with database.service() as connection:
        return await positions.refundable(connection, invalid)


def _is_refunded(position: Position) -> bool:
    market = position.market
    return market.state is MarketState.FINALIZED and market.final_outcome is None


def _body(position: Position, refundable: Mapping[str, int]) -> PositionBody:
    claimable = _claimable_lamports(position, refundable)
    value = claimable if position.market.state is MarketState.FINALIZED else _mark_lamports(position)
    paid_in = position.total_invested - position.total_returned
    profit = value + position.claimed_amount - paid_in
    market = position.market
    return PositionBody(
        market_id=market.id,
        on_chain_address=market.on_chain_address,
        question=market.question,
        state=market.state.value,
        state_name=market.state.name,
        price_yes=price(market.price_yes),
        price_no=price(SCALE - market.price_yes),
        shares_yes=amount(position.shares_yes),
        shares_no=amount(position.shares_no),
        total_invested=amount(position.total_invested),
        total_returned=amount(position.total_returned),
        current_value=amount(value),
        unrealized_pnl=amount(0 if position.has_claimed else profit),
        realized_pnl=amount(profit if position.has_claimed else 0),
        roi=round(profit * 100 / position.total_invested, 2) if position.total_invested else 0.0,
        claimable=amount(claimable),
        has_claimed=position.has_claimed,
        claimed_amount=amount(position.claimed_amount),
        proposed_outcome=market.proposed_outcome,
        final_outcome=market.final_outcome,
        trades_count=position.trades_count,
        first_trade_at=None if position.first_trade_at is None else time_text(position.first_trade_at),
        last_trade_at=None if position.last_trade_at is None else time_text(position.last_trade_at),
        claimed_at=None if position.claimed_at is None else time_text(position.claimed_at),
        slot=position.slot,
    )


def _mark_lamports(position: Position) -> int:
    """The shares at the market's price: what they would bring if selling did not move it, before fees."""
    price_yes = position.market.price_yes
    return (position.shares_yes * price_yes + position.shares_no * (SCALE - price_yes)) // SCALE


def _claimable_lamports(position: Position, refundable: Mapping[str, int]) -> int:
    market = position.market
    if market.state is not MarketState.FINALIZED or position.has_claimed:
        return 0
    if market.final_outcome is None:
        owed = refundable[market.id]
        return payouts.refund(
            position.total_invested, position.total_returned, owed, market.current_liquidity
        )
    if market.final_outcome:
        return payouts.claim(position.shares_yes, market.shares_yes, market.current_liquidity)
    return payouts.claim(position.shares_no, market.shares_no, market.current_liquidity)
