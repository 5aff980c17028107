"""A market as it is on the chain at this moment, for what has to be exact: quotes and transactions."""

from __future__ import annotations

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig, MarketAccount
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import read_config_and_market
from zmartd.chain.rpc import Rpc
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import Curve
from zmartd.market.quotes import Pool
from zmartd.store.markets import MarketNotFound


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


async def read_live_market(rpc: Rpc, program: Program, address: str) -> LiveMarket:
    """Read the market at `address` and the configuration.

    Raises MarketNotFound, ProtocolNotInitialized, RpcUnavailable.
    """
    config, market = await read_config_and_market(rpc, program.program_id, Pubkey.from_string(address))
    if market is None:
        raise MarketNotFound("The chain has no such market.", market=address)
    return LiveMarket(market.address, market.account, config, market.slot)
