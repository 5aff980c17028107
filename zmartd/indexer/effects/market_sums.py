"""What trades add to the row of their market."""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade


class MarketSums(Struct):
    """What a batch adds to a market. Repricing earlier trades changes liquidity, fees and volume."""

    yes: int = 0
    no: int = 0
    trades: int = 0
    liquidity: int = 0
    volume: int = 0
    protocol_fees: int = 0
    resolver_fees: int = 0
    lp_fees: int = 0

    def count(self, trade: UnpricedTrade) -> None:
        shares = trade.shares if trade.buys else -trade.shares
        self.yes += shares if trade.outcome else 0
        self.no += 0 if trade.outcome else shares
        self.trades += 1
        self.volume += trade.cash_lamports if trade.buys else 0

    def add(self, priced: PricedTrade, sign: int) -> None:
        trade = priced.trade
        self.liquidity += sign * (priced.amount_lamports if trade.buys else -priced.amount_lamports)
        self.volume += 0 if trade.buys else sign * priced.amount_lamports
        self.protocol_fees += sign * priced.protocol_fee_lamports
        self.resolver_fees += sign * priced.resolver_fee_lamports
        self.lp_fees += sign * priced.lp_fee_lamports
