"""The limits of a trade that is relayed, and the answer where its price has moved beyond them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from zmartd.chain.failures import ProgramRefused
from zmartd.chain.interface import BuyShares
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import amount, price
from zmartd.http.kit.operation import Call
from zmartd.http.trading.trade_transactions import BuyBody, SellBody, live_holding, offer_purchase, offer_sale
from zmartd.market.lmsr import SCALE
from zmartd.market.orders import LimitNotMet, Order, Purchase
from zmartd.store.markets import MarketRow
from zmartd.transactions.admission import AdmittedTransaction
from zmartd.transactions.live_market import LiveHolding
from zmartd.transactions.price_protection import InvalidProtection, PriceMoved, Protection, Trade


class Limits(Struct, frozen=True):
    """What a transaction to relay is held to, beside what its instructions say."""

    min_shares: int | None
    """The least share units that its purchases bring together; None where it has none."""
    order: Order | None
    """What its trade was quoted for; None where the quote's protection is missing."""


def read_limits(
    call: Call[Any], transaction: AdmittedTransaction, text: str | None, min_shares: int | None
) -> Limits:
    """The limits in the protection `text`, or as the caller states them.

    Raises InvalidRequest where a purchase has neither, and where they contradict the transaction.
    """
    if text is not None:
        if min_shares is not None:
            raise InvalidRequest(Problem("min_shares", "must not be given with protection, which has one"))
        protection = _opened(call, transaction, text)
        return Limits(protection.min_shares, protection.order)
    if transaction.buys and min_shares is None:
        raise InvalidRequest(
            Problem(
                "protection",
                "is required for a purchase: send the text from the answer of POST /api/trades/buy, or state "
                "min_shares yourself, 0 for no limit",
            )
        )
    if min_shares is not None and not transaction.buys:
        raise InvalidRequest(Problem("min_shares", "is for purchases, and this transaction has none"))
    return Limits(min_shares, None)


def _opened(call: Call[Any], transaction: AdmittedTransaction, text: str) -> Protection:
    try:
        protection = call.app[keys.PROTECTIONS].open(text)
    except InvalidProtection as error:
        raise InvalidRequest(
            Problem("protection", "must be the unchanged text from an answer of POST /api/trades/buy or sell")
        ) from error
    if [trade.key() for trade in transaction.trades] != [protection.trade]:
        raise InvalidRequest(
            Problem(
                "protection",
                "is of another trade: send the text from the quote with the same wallet, market, outcome and "
                "amounts",
            )
        )
    return protection


async def with_fresh_quote(
    call: Call[Any], transaction: AdmittedTransaction, limits: Limits, moved: PriceMoved
) -> PriceMoved:
    """`moved` with the limit, the present price and, within the caller's own limits, a fresh quote.

    Raises what a quote raises where the market takes no trades any more.
    """
    if len(transaction.trades) != 1:
        return moved
    (trade,) = transaction.trades
    market, holding = await live_holding(call, str(trade.market))
    fresh = None if limits.order is None else await _offer(call, market, holding, limits.order)
    details = replace(
        moved.details,
        **_limit(trade, limits, moved),
        market_id=market.id,
        price=_price(holding, trade),
        fresh=fresh,
    )
    return PriceMoved(details, _MESSAGE if fresh is not None else _MESSAGE_ALONE)


_NOT_SENT = "The price has moved beyond the limit of this trade, so it was not sent."
_MESSAGE = f"{_NOT_SENT} `details.fresh` is a new quote with its transaction: sign and send it, or leave it."
_MESSAGE_ALONE = f"{_NOT_SENT} Ask for a quote with another limit or amount, or wait for another price."


def _limit(trade: Trade, limits: Limits, moved: PriceMoved) -> dict[str, Any]:
    """The limit that the trade would break: the program's, unless `moved` says how many shares it buys."""
    if not isinstance(trade.arguments, BuyShares):
        return {"limit": "min_proceeds", "min_proceeds": amount(trade.arguments.min_proceeds)}
    if moved.details.shares is not UNSET:
        return {"limit": "min_shares", "min_shares": amount(limits.min_shares or 0)}
    return {"limit": "target_cost", "target_cost": amount(trade.arguments.target_cost)}


def _price(holding: LiveHolding, trade: Trade) -> float:
    yes = holding.market.pool.price_yes()
    return price(yes if trade.arguments.outcome else SCALE - yes)


async def _offer(
    call: Call[Any], market: MarketRow, holding: LiveHolding, order: Order
) -> BuyBody | SellBody | None:
    """The quote for the same order now; None where it would break a limit of the caller's own."""
    try:
        if isinstance(order, Purchase):
            return await offer_purchase(call, market, holding.market, order)
        return await offer_sale(call, market, holding, order)
    except ProgramRefused as refused:
        if isinstance(refused.__cause__, LimitNotMet):
            return None
        raise
