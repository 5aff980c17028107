"""A market as it is on the chain at this moment, for what has to be exact: quotes and transactions."""

from __future__ import annotations

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig, MarketAccount
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import ChainMarket, read_config_and_market, read_position_and_market
from zmartd.chain.rpc import Rpc
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import Curve
from zmartd.market.quotes import Pool
from zmartd.store.markets import MarketNotFound, MarketReference


class LiveMarket(Struct, frozen=True):
    """A market's account and the protocol's configuration, both of the same `slot`."""

    address: Pubkey
    account: MarketAccount
    config: GlobalConfig
    slot: int

    @property
    def pool(self) -> Pool:
        """The market's curve and fee rates, from which quotes are computed."""
        return Pool(
            Curve(self.account.shares_yes, self.account.shares_no, self.account.b_parameter),
            FeeRates(
                self.config.protocol_fee_bps,
                self.config.resolver_reward_bps,
                self.config.liquidity_provider_fee_bps,
            ),
        )


class LiveHolding(Struct, frozen=True):
    """A market and a wallet's shares in it, of the same slot."""

    market: LiveMarket
    shares_yes: int
    shares_no: int

    def shares(self, outcome: bool) -> int:
        """The share units of YES, or of NO, that the wallet holds."""
        return self.shares_yes if outcome else self.shares_no


async def read_live_market(rpc: Rpc, program: Program, address: str) -> LiveMarket:
    """Read the market at `address` and the configuration.

    Raises MarketNotFound, ProtocolNotInitialized, RpcUnavailable.
    """
    config, market = await read_config_and_market(rpc, program.program_id, Pubkey.from_string(address))
    return _live(address, config, market)


async def read_live_holding(rpc: Rpc, program: Program, address: str, wallet: str) -> LiveHolding:
    """As `read_live_market`, with what `wallet` holds."""
    position, config, market = await read_position_and_market(
        rpc, program.program_id, Pubkey.from_string(address), Pubkey.from_string(wallet)
    )
    live = _live(address, config, market)
    if position is None:
        return LiveHolding(live, 0, 0)
    return LiveHolding(live, position.shares_yes, position.shares_no)


def _live(address: str, config: GlobalConfig, market: ChainMarket | None) -> LiveMarket:
    if market is None:
        raise MarketNotFound(
            MarketReference(given=address),
            "The chain has no such market; GET /api/markets lists those that there are.",
        )
    return LiveMarket(market.address, market.account, config, market.slot)
