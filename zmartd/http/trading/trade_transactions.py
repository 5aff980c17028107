"""Buying and selling: quotes, and the transactions that carry them out once a wallet has signed them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.interface import BuyShares, SellShares
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.http.errors.requests import MarketPending, WrongState
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, MarketKey, amount
from zmartd.http.kit.forms import Form
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explaining_state
from zmartd.http.trading.quoting import refusing_as_the_program, require_consistent
from zmartd.http.trading.schemas import (
    MarketParameter,
    OutcomeParameter,
    QuoteBody,
    ShareUnits,
    SlippageParameter,
    quote_body,
)
from zmartd.market import orders, quotes
from zmartd.market.iso_time import has_come
from zmartd.market.next_steps import Action
from zmartd.market.orders import DEFAULT_SLIPPAGE_BPS, Order, Purchase, Sale
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.transactions import unsigned
from zmartd.transactions.live_market import LiveHolding, LiveMarket, read_live_holding
from zmartd.transactions.price_protection import Protection, Trade
from zmartd.transactions.unsigned import UnsignedTransaction


class BuyRequest(Struct, frozen=True, kw_only=True):
    """Either `target_cost`, the most to pay with fees, or `shares`, the least to get.

    Limits that are given win over the slippage.
    """

    FORMS: ClassVar[tuple[Form, ...]] = (
        Form(
            name="PurchaseForCost",
            meaning="A purchase for `target_cost`, the most to pay with fees. A limit that is given wins "
            "over the slippage.",
            requires="target_cost",
            excludes=("shares", "max_cost"),
        ),
        Form(
            name="PurchaseOfShares",
            meaning="A purchase of `shares`, the least to get. Limits that are given win over the slippage.",
            requires="shares",
            excludes=("target_cost",),
        ),
    )

    market_id: MarketParameter
    outcome: OutcomeParameter
    target_cost: Annotated[
        U64 | None,
        Meta(description="a whole number of lamports, 0 to 18446744073709551615, a number or decimal string"),
    ] = None
    """The most to pay, with fees."""
    shares: Annotated[
        ShareUnits | None,
        Meta(description="a whole number of share units (1000000000 = one share), 1 to 18446744073709551615"),
    ] = None
    """The least to get."""
    slippage_bps: SlippageParameter = DEFAULT_SLIPPAGE_BPS
    min_shares: Annotated[
        U64 | None,
        Meta(
            description="a whole number of share units, the least that the purchase has to bring, 0 for no "
            "limit; without it the quote's shares less the slippage, or all of `shares`"
        ),
    ] = None
    max_cost: Annotated[
        U64 | None,
        Meta(
            description="a whole number of lamports, the most that `shares` may cost with fees; without it "
            "what they cost now and the slippage"
        ),
    ] = None


class SellRequest(Struct, frozen=True, kw_only=True):
    """A limit that is given wins over the slippage."""

    market_id: MarketParameter
    outcome: OutcomeParameter
    shares: Annotated[
        ShareUnits,
        Meta(description="a whole number of share units (1000000000 = one share), 1 to 18446744073709551615"),
    ]
    """How many to sell."""
    slippage_bps: SlippageParameter = DEFAULT_SLIPPAGE_BPS
    min_proceeds: Annotated[
        U64 | None,
        Meta(
            description="a whole number of lamports, the least that the sale has to bring after fees, 0 for "
            "no limit; without it the quote's net less the slippage, rounded up"
        ),
    ] = None


class QuotedTransaction(UnsignedTransaction, frozen=True, kw_only=True):
    """A quote, and the transaction that carries it out."""

    market_id: MarketKey
    market_ended: bool
    """Whether the market's expected end has come: its outcome may be known already, and proposed soon."""
    quote: QuoteBody
    """The trade as the program executes this transaction, if nobody else trades before it."""
    slippage_bps: int
    """The slippage from which the limits follow that were not given, in basis points."""
    protection: str
    """Send this text to POST /api/transactions along with the signed transaction: it has the limits, so that
    they are kept."""


class BuyBody(QuotedTransaction, frozen=True, kw_only=True):
    """A quote for a purchase, and the transaction that makes it."""

    target_cost: Amount
    """The most lamports that this transaction spends, fees included. It is in the instruction, so the program
    enforces it. For a purchase of `shares` it has the slippage as room for a price that rises, within
    `max_cost`; while the price stays, the room buys more shares."""
    max_cost: Amount
    """The most lamports that the purchase may cost, fees included: `target_cost` never exceeds it, so the
    program enforces it."""
    min_shares: Amount
    """The least share units that the purchase brings. The program has no such limit: POST /api/transactions
    enforces it by a simulation right before the transaction is sent, and each time that it is sent again."""
    room_shares: Amount
    """Share units of the quote beyond the `shares` that were asked for: what the slippage, as room for a
    price that rises, buys while the price stays. With `slippage_bps` 0 it is what rounding leaves: the
    program spends whole lamports, and one less would buy fewer than `shares`. 0 for `target_cost`."""


class SellBody(QuotedTransaction, frozen=True, kw_only=True):
    """A quote for a sale, and the transaction that makes it."""

    min_proceeds: Amount
    """The least lamports that the sale brings, after fees. It is in the instruction, so the program enforces
    it."""


async def buy(call: Call[BuyRequest]) -> BuyBody:
    """The quote is for the market as it is on the chain now."""
    body = call.input
    order = Purchase(
        outcome=body.outcome,
        target_cost=body.target_cost,
        shares=body.shares,
        slippage_bps=body.slippage_bps,
        min_shares=body.min_shares,
        max_cost=body.max_cost,
    )
    require_consistent(order)
    market, holding = await live_holding(call, body.market_id)
    return await offer_purchase(call, market, holding.market, order)


async def sell(call: Call[SellRequest]) -> SellBody:
    """The quote is for the market as it is on the chain now."""
    body = call.input
    order = Sale(
        outcome=body.outcome,
        shares=body.shares,
        slippage_bps=body.slippage_bps,
        min_proceeds=body.min_proceeds,
    )
    market, holding = await live_holding(call, body.market_id)
    return await offer_sale(call, market, holding, order)


async def live_holding(call: Call[Any], reference: str) -> tuple[MarketRow, LiveHolding]:
    """A market as it is indexed, and on the chain its state and the caller's shares.

    Raises MarketNotFound, MarketPending, ProtocolNotInitialized, RpcUnavailable.
    """
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await chain_market(connection, reference)
    program, wallet = call.app[keys.PROGRAM], call.session.wallet
    return market, await read_live_holding(call.app[keys.RPC], program, market.on_chain_address, wallet)


async def offer_purchase(call: Call[Any], market: MarketRow, live: LiveMarket, order: Purchase) -> BuyBody:
    """Raises ProgramRefused, InsufficientFunds, RpcUnavailable, RpcRejected."""
    await _require_trading(call, market.id, live)
    with refusing_as_the_program(call.app[keys.IDL]):
        bought = orders.protect_purchase(live.pool, order)
    quote, wallet = bought.quote, call.session.wallet
    arguments = BuyShares(order.outcome, quote.target_cost_lamports)
    instruction = call.app[keys.PROGRAM].buy_shares(
        user=Pubkey.from_string(wallet),
        market=live.address,
        protocol_fee_wallet=live.config.protocol_fee_wallet,
        outcome=arguments.outcome,
        target_cost=arguments.target_cost,
    )
    transaction = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
    return BuyBody(
        **msgspec.structs.asdict(transaction),
        market_id=market.id,
        market_ended=has_come(market.end_date, await call.app[keys.CHAIN_TIME]()),
        quote=quote_body(quote, live.slot),
        slippage_bps=order.slippage_bps,
        protection=_sealed(call, live, arguments, order, bought.min_shares),
        target_cost=amount(quote.target_cost_lamports),
        max_cost=amount(bought.max_cost),
        min_shares=amount(bought.min_shares),
        room_shares=amount(0 if order.shares is None else quote.shares - order.shares),
    )


async def offer_sale(call: Call[Any], market: MarketRow, holding: LiveHolding, order: Sale) -> SellBody:
    """Raises ProgramRefused, InsufficientFunds, RpcUnavailable, RpcRejected."""
    live = holding.market
    await _require_trading(call, market.id, live)
    with refusing_as_the_program(call.app[keys.IDL]):
        orders.require_shares(holding.shares(order.outcome), order.outcome, order.shares)
        quote = orders.protect_sale(live.pool, order)
    wallet = call.session.wallet
    arguments = SellShares(order.outcome, quote.shares, quote.min_proceeds_lamports)
    instruction = call.app[keys.PROGRAM].sell_shares(
        user=Pubkey.from_string(wallet),
        market=live.address,
        protocol_fee_wallet=live.config.protocol_fee_wallet,
        outcome=arguments.outcome,
        shares_to_sell=arguments.shares_to_sell,
        min_proceeds=arguments.min_proceeds,
    )
    transaction = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
    return SellBody(
        **msgspec.structs.asdict(transaction),
        market_id=market.id,
        market_ended=has_come(market.end_date, await call.app[keys.CHAIN_TIME]()),
        quote=quote_body(quote, live.slot),
        slippage_bps=order.slippage_bps,
        protection=_sealed(call, live, arguments, order, None),
        min_proceeds=amount(quote.min_proceeds_lamports),
    )


def _sealed(
    call: Call[Any],
    live: LiveMarket,
    arguments: BuyShares | SellShares,
    order: Order,
    min_shares: int | None,
) -> str:
    position = call.app[keys.PROGRAM].pdas.position(live.address, Pubkey.from_string(call.session.wallet))
    trade = Trade(live.address, position, arguments)
    return call.app[keys.PROTECTIONS].seal(Protection(trade.key(), order, min_shares))


async def _require_trading(call: Call[Any], market_id: str, live: LiveMarket) -> None:
    """Raises ProgramRefused where the market, or the whole protocol, takes no trades."""
    async with explaining_state(call, market_id, Action.TRADE):
        with refusing_as_the_program(call.app[keys.IDL]):
            quotes.require_trading(live.account.state, is_paused=live.config.is_paused)


_ERRORS = (MarketNotFound, MarketPending, WrongState, ProtocolNotInitialized, *unsigned.ERRORS)

OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/trades/buy",
        handler=buy,
        name="buy_shares",
        summary="Quote a purchase, and get the transaction that makes it",
        tag="trades",
        body=BuyRequest,
        responses={200: BuyBody},
        errors=_ERRORS,
        access=Access.SESSION,
        is_repeatable=True,
    ),
    Operation(
        method="POST",
        path="/api/trades/sell",
        handler=sell,
        name="sell_shares",
        summary="Quote a sale, and get the transaction that makes it",
        tag="trades",
        body=SellRequest,
        responses={200: SellBody},
        errors=_ERRORS,
        access=Access.SESSION,
        is_repeatable=True,
    ),
)
