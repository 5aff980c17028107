"""Quotes for trades, and the transactions that carry them out once a wallet has signed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.failures import ProgramRefused, failure_named
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.http.errors.requests import InvalidRequest, MarketPending, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, MarketKey, MarketRef, Price, amount, price
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.schemas import OutcomeLabel, outcome_label
from zmartd.http.trading.schemas import FeesBody, fees_body
from zmartd.market import quotes
from zmartd.market.errors import MarketMathError
from zmartd.market.lmsr import SCALE
from zmartd.market.quotes import DEFAULT_MIN_PROCEEDS_BPS, BuyQuote, Quote
from zmartd.store.markets import MarketNotFound
from zmartd.transactions import unsigned
from zmartd.transactions.live_market import LiveMarket, read_live_market
from zmartd.transactions.unsigned import UnsignedTransaction

QuoteType = TypeVar("QuoteType", bound=Quote)

Market = Annotated[MarketRef, Meta(description="a market's id or address")]
Outcome = Annotated[bool, Meta(description="true for YES or false for NO")]


class Shares(U64):
    minimum: ClassVar[int] = 1


class BuyRequest(Struct, frozen=True, kw_only=True):
    """Either `target_cost`, the most to pay with fees, or `shares`, for at most `max_cost`.

    The program knows only the most to pay: the transaction spends up to `target_cost` of the answer and
    brings what the curve gives for it at that moment. Where others trade in between, that is more or less
    than `shares`.
    """

    market_id: Market
    outcome: Outcome
    target_cost: Annotated[
        U64 | None, Meta(description="a whole number of lamports, as a number or a decimal string")
    ] = None
    shares: Annotated[
        Shares | None,
        Meta(description="a whole number of share units (1000000000 = one share), 1 or more"),
    ] = None
    max_cost: Annotated[
        U64 | None, Meta(description="a whole number of lamports, as a number or a decimal string")
    ] = None


class SellRequest(Struct, frozen=True, kw_only=True):
    market_id: Market
    outcome: Outcome
    shares: Annotated[
        Shares, Meta(description="a whole number of share units (1000000000 = one share), 1 or more")
    ]
    min_proceeds: Annotated[
        U64 | None,
        Meta(
            description="a whole number of lamports, as a number or a decimal string; without it "
            f"{DEFAULT_MIN_PROCEEDS_BPS / 100:g} % of the quote's total, rounded down; 0 for no limit"
        ),
    ] = None


class QuoteBody(Struct, frozen=True, kw_only=True):
    """A trade as the program would execute it on the market as it was in `slot`.

    `cost` is what the curve asks or gives before fees; `total` is what the trader pays with fees, or receives
    after them. Prices are those of the traded outcome.
    """

    outcome: bool
    """What is traded: true for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The outcome in words."""
    shares: Amount
    """Shares bought or sold, with nine decimals."""
    cost: Amount
    """Lamports that the curve asks or gives, before fees."""
    fees: FeesBody
    """What the trade is charged, within total."""
    total: Amount
    """Lamports that the buyer pays with fees, or that the seller receives after fees."""
    price_before: Price
    """SOL a share of the traded outcome, before the trade."""
    price_after: Price
    """SOL a share of the traded outcome, after the trade."""
    average_price: Annotated[float, Meta(description="total over shares, in SOL a share")]
    slot: int
    """The slot as of which the market was read."""


class BuyBody(UnsignedTransaction, frozen=True, kw_only=True):
    """`target_cost` is the instruction's limit: the buyer never pays more than that."""

    market_id: MarketKey
    quote: QuoteBody
    """What the purchase comes to while nobody else trades."""
    target_cost: Amount
    """Lamports with fees that the buyer pays at most."""


class SellBody(UnsignedTransaction, frozen=True, kw_only=True):
    """`min_proceeds` is the instruction's limit: the seller never gets less than that."""

    market_id: MarketKey
    quote: QuoteBody
    """What the sale comes to while nobody else trades."""
    min_proceeds: Amount
    """Lamports after fees that the seller receives at least."""


async def buy(call: Call[BuyRequest]) -> BuyBody:
    """A quote, and the transaction that carries it out."""
    body = call.input
    _check_amounts(body)
    wallet = call.session.wallet
    market_id, live = await _tradable(call, body.market_id)
    quote = _quoted(call, lambda: _buy_quote(live, body))
    if body.max_cost is not None and quote.target_cost_lamports > body.max_cost:
        failure = failure_named("SlippageExceeded", call.app[keys.IDL])
        raise ProgramRefused(failure, target_cost=amount(quote.target_cost_lamports))
    instruction = call.app[keys.PROGRAM].buy_shares(
        user=Pubkey.from_string(wallet),
        market=live.address,
        protocol_fee_wallet=live.config.protocol_fee_wallet,
        outcome=body.outcome,
        target_cost=quote.target_cost_lamports,
    )
    unsigned = await call.app[keys.TRANSACTIONS].build(wallet, instruction)
    return BuyBody(
        **msgspec.structs.asdict(unsigned),
        market_id=market_id,
        quote=quote_body(quote, live.slot),
        target_cost=amount(quote.target_cost_lamports),
    )


async def sell(call: Call[SellRequest]) -> SellBody:
    """A quote, and the transaction that carries it out."""
    body = call.input
    wallet = call.session.wallet
    market_id, live = await _tradable(call, body.market_id)
    quote = _quoted(call, lambda: quotes.sell(live.pool, body.outcome, body.shares, body.min_proceeds))
    instruction = call.app[keys.PROGRAM].sell_shares(
        user=Pubkey.from_string(wallet),
        market=live.address,
        protocol_fee_wallet=live.config.protocol_fee_wallet,
        outcome=body.outcome,
        shares_to_sell=quote.shares,
        min_proceeds=quote.min_proceeds_lamports,
    )
    unsigned = await call.app[keys.TRANSACTIONS].build(wallet, instruction)
    return SellBody(
        **msgspec.structs.asdict(unsigned),
        market_id=market_id,
        quote=quote_body(quote, live.slot),
        min_proceeds=amount(quote.min_proceeds_lamports),
    )


def _check_amounts(body: BuyRequest) -> None:
    if (body.target_cost is None) == (body.shares is None):
        raise InvalidRequest(Problem("target_cost", "or else shares has to be given, and not both"))


async def _tradable(call: Call[Any], reference: str) -> tuple[str, LiveMarket]:
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await chain_market(connection, reference)
    live = await read_live_market(call.app[keys.RPC], call.app[keys.PROGRAM], market.on_chain_address)
    return market.id, live


def _buy_quote(live: LiveMarket, body: BuyRequest) -> BuyQuote:
    if body.target_cost is not None:
        return quotes.buy_for_cost(live.pool, body.outcome, body.target_cost)
    assert body.shares is not None, "checked with the request"
    return quotes.buy_for_shares(live.pool, body.outcome, body.shares)


def _quoted(call: Call[Any], quote: Callable[[], QuoteType]) -> QuoteType:
    try:
        return quote()
    except MarketMathError as error:
        raise ProgramRefused(failure_named(error.code, call.app[keys.IDL])) from error


def quote_body(quote: Quote, slot: int) -> QuoteBody:
    """A quote that was made from a market as it was in `slot`."""
    before, after = quote.price_yes_before, quote.price_yes_after
    if not quote.outcome:
        before, after = SCALE - before, SCALE - after
    return QuoteBody(
        outcome=quote.outcome,
        outcome_label=outcome_label(quote.outcome),
        shares=amount(quote.shares),
        cost=amount(quote.amount_lamports),
        fees=fees_body(quote.fees.protocol, quote.fees.resolver, quote.fees.lp),
        total=amount(quote.total_lamports),
        price_before=price(before),
        price_after=price(after),
        average_price=round(quote.total_lamports / quote.shares, 9) if quote.shares else 0.0,
        slot=slot,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/trades/buy",
        handler=buy,
        summary="Quote a purchase, and get the transaction that makes it",
        tag="trades",
        body=BuyRequest,
        answers={200: BuyBody},
        errors=(MarketNotFound, MarketPending, ProtocolNotInitialized, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/trades/sell",
        handler=sell,
        summary="Quote a sale, and get the transaction that makes it",
        tag="trades",
        body=SellRequest,
        answers={200: SellBody},
        errors=(MarketNotFound, MarketPending, ProtocolNotInitialized, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
)
