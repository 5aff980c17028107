"""The events of trades: functions of the instruction, the curve and the fee rates."""

from __future__ import annotations

from zmartd.chain.events import SharesBought, SharesSold
from zmartd.chain.interface import BuyShares, SellShares
from zmartd.indexer.truncation.known import KnownMarket
from zmartd.indexer.truncation.step import Contradiction, Inferences, Step, required
from zmartd.market import quotes
from zmartd.market.lifecycle import MarketState
from zmartd.market.quotes import Pool


def _buy(step: Step, given: BuyShares) -> SharesBought:
    market, pool = _traded(step)
    buy = quotes.buy_for_cost(pool, given.outcome, given.target_cost)
    return SharesBought(
        market.id,
        step.key("user"),
        given.outcome,
        buy.shares,
        buy.total_lamports,
        buy.price_yes_after,
        step.at,
    )


def _sell(step: Step, given: SellShares) -> SharesSold:
    market, pool = _traded(step)
    sale = quotes.sell(pool, given.outcome, given.shares_to_sell, given.min_proceeds)
    return SharesSold(
        market.id,
        step.key("user"),
        given.outcome,
        sale.shares,
        sale.total_lamports,
        sale.price_yes_after,
        step.at,
    )


def _traded(step: Step) -> tuple[KnownMarket, Pool]:
    market = step.market(MarketState.ACTIVE)
    if step.known.configuration.is_paused:
        raise Contradiction("the program was paused")
    return market, Pool(market.curve, required(step.known.configuration.rates, "what the fees were"))


INFERENCES: Inferences = {BuyShares: _buy, SellShares: _sell}
