"""Buying and selling: quotes, and the transactions that carry them out once a wallet has signed them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.failures import ProgramRefused, failure_named
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.http.errors.requests import MarketPending
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, MarketKey, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explaining_state
from zmartd.http.trading.quoting import quote_purchase, refusing_as_the_program, require_one_amount
from zmartd.http.trading.schemas import (
    MarketParameter,
    OutcomeParameter,
    QuoteBody,
    ShareUnits,
    quote_body,
)
from zmartd.market import quotes
from zmartd.market.next_steps import Action
from zmartd.market.quotes import DEFAULT_MIN_PROCEEDS_BPS
from zmartd.store.markets import MarketNotFound
from zmartd.transactions import unsigned
from zmartd.transactions.live_market import LiveMarket, read_live_market
from zmartd.transactions.unsigned import UnsignedTransaction


class BuyRequest(Struct, frozen=True, kw_only=True):
    """Either `target_cost`, the most to pay with fees, or `shares`, for at most `max_cost`.

    The program's instruction has no number of shares: the transaction spends at most the `target_cost` of the
    answer and buys the shares that the price curve gives for it when it is executed. These are more or fewer
    than `shares` where others trade in between.
    """

    market_id: MarketParameter
    outcome: OutcomeParameter
    target_cost: Annotated[
        U64 | None, Meta(description="a whole number of lamports, as a number or a decimal string")
    ] = None
    shares: Annotated[
        ShareUnits | None,
        Meta(description="a whole number of share units (1000000000 = one share), 1 or more"),
    ] = None
    max_cost: Annotated[
        U64 | None, Meta(description="a whole number of lamports, as a number or a decimal string")
    ] = None


class SellRequest(Struct, frozen=True, kw_only=True):
    market_id: MarketParameter
    outcome: OutcomeParameter
    shares: Annotated[
        ShareUnits, Meta(description="a whole number of share units (1000000000 = one share), 1 or more")
    ]
    min_proceeds: Annotated[
        U64 | None,
        Meta(
            description="a whole number of lamports, as a number or a decimal string; without it "
            f"{DEFAULT_MIN_PROCEEDS_BPS / 100:g} % of the quote's total, rounded down; 0 for no limit"
        ),
    ] = None


class BuyBody(UnsignedTransaction, frozen=True, kw_only=True):
    """A quote for a purchase, and the transaction that makes it."""

    market_id: MarketKey
    quote: QuoteBody
    """The purchase, if nobody else trades before it."""
    target_cost: Amount
    """The most lamports that the buyer pays, with fees: the limit in the instruction."""


class SellBody(UnsignedTransaction, frozen=True, kw_only=True):
    """A quote for a sale, and the transaction that makes it."""

    market_id: MarketKey
    quote: QuoteBody
    """The sale, if nobody else trades before it."""
    min_proceeds: Amount
    """The least lamports that the seller receives, after fees: the limit in the instruction."""


async def buy(call: Call[BuyRequest]) -> BuyBody:
    """The quote is for the market as it is on the chain now."""
    body = call.input
    require_one_amount(body.target_cost, body.shares)
    wallet = call.session.wallet
    market_id, live = await _live_market(call, body.market_id)
    await _require_trading(call, market_id, live)
    with refusing_as_the_program(call.app[keys.IDL]):
        quote = quote_purchase(live.pool, body.outcome, body.target_cost, body.shares)
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
    unsigned = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
    return BuyBody(
        **msgspec.structs.asdict(unsigned),
        market_id=market_id,
        quote=quote_body(quote, live.slot),
        target_cost=amount(quote.target_cost_lamports),
    )


async def sell(call: Call[SellRequest]) -> SellBody:
    """The quote is for the market as it is on the chain now."""
    body = call.input
    wallet = call.session.wallet
    market_id, live = await _live_market(call, body.market_id)
    await _require_trading(call, market_id, live)
    with refusing_as_the_program(call.app[keys.IDL]):
        quote = quotes.sell(live.pool, body.outcome, body.shares, body.min_proceeds)
    instruction = call.app[keys.PROGRAM].sell_shares(
        user=Pubkey.from_string(wallet),
        market=live.address,
        protocol_fee_wallet=live.config.protocol_fee_wallet,
        outcome=body.outcome,
        shares_to_sell=quote.shares,
        min_proceeds=quote.min_proceeds_lamports,
    )
    unsigned = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
    return SellBody(
        **msgspec.structs.asdict(unsigned),
        market_id=market_id,
        quote=quote_body(quote, live.slot),
        min_proceeds=amount(quote.min_proceeds_lamports),
    )


async def _live_market(call: Call[Any], reference: str) -> tuple[str, LiveMarket]:
    """The id of a market, and its state on the chain."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await chain_market(connection, reference)
    live = await read_live_market(call.app[keys.RPC], call.app[keys.PROGRAM], market.on_chain_address)
    return market.id, live


async def _require_trading(call: Call[Any], market_id: str, live: LiveMarket) -> None:
    """Raises ProgramRefused where the market, or the whole protocol, takes no trades."""
    async with explaining_state(call, market_id, Action.TRADE):
        with refusing_as_the_program(call.app[keys.IDL]):
            quotes.require_trading(live.account.state, is_paused=live.config.is_paused)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/trades/buy",
        handler=buy,
        summary="Quote a purchase, and get the transaction that makes it",
        tag="trades",
        body=BuyRequest,
        responses={200: BuyBody},
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
        responses={200: SellBody},
        errors=(MarketNotFound, MarketPending, ProtocolNotInitialized, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
)
