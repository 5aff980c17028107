"""A market's prices now, and the shares that make them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, Commitment, MarketKey, Price, amount
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.markets.lookup import find_market
from zmartd.store.markets import MarketNotFound


class Prices(Struct, frozen=True, kw_only=True):
    """What a share of each outcome costs at `slot`; null while the market is not on the chain."""

    market_id: MarketKey
    price_yes: Price
    """SOL a share of YES, from 0 to 1."""
    price_no: Price
    """SOL a share of NO, from 0 to 1."""
    shares_yes: Amount
    """All YES shares with nine decimals, the seed shares that nobody holds among them."""
    shares_no: Amount
    """All NO shares with nine decimals, the seed shares that nobody holds among them."""
    total_shares: Amount
    """Shares of both outcomes with nine decimals."""
    b_parameter: Amount | None
    """The liquidity parameter with nine decimals; null while only later events of the market are known."""
    slot: int | None
    """The slot of the last thing indexed of the market; null while it is not on the chain."""
    commitment: Commitment | None
    """How far the chain has settled on it; null while the market is not on the chain."""


async def get_prices(call: Call[None]) -> Prices:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
    return Prices(
        market_id=market.id,
        price_yes=market.price_yes,
        price_no=market.price_no,
        shares_yes=market.shares_yes,
        shares_no=market.shares_no,
        total_shares=amount(int(market.shares_yes) + int(market.shares_no)),
        b_parameter=market.b_parameter,
        slot=market.slot,
        commitment=market.commitment,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/prices",
        handler=get_prices,
        summary="A market's prices now",
        tag="markets",
        answers={200: Prices},
        errors=(MarketNotFound,),
    ),
)
