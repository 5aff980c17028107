"""A market as it is on the chain this moment, for what has to be exact: quotes and transactions."""

from __future__ import annotations

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig, MarketAccount
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.http.errors.requests import ProtocolNotInitialized
from zmartd.market.quotes import Pool
from zmartd.market.tape import Curve, FeeRates
from zmartd.store.markets import MarketNotFound


class LiveMarket(Struct, frozen=True):
    """A market's account and the protocol's configuration, both of the same `slot`."""

    address: Pubkey
    account: MarketAccount
    config: GlobalConfig
    slot: int

    @property
    def pool(self) -> Pool:
        """What quotes are made from."""
        return Pool(
            Curve(self.account.shares_yes, self.account.shares_no, self.account.b_parameter),
            FeeRates(
                self.config.protocol_fee_bps,
                self.config.resolver_reward_bps,
                self.config.liquidity_provider_fee_bps,
            ),
        )


async def read_live_market(rpc: Rpc, program: Program, address: str) -> LiveMarket:
    """The market account at `address`, and the configuration.

    Raises MarketNotFound, ProtocolNotInitialized, RpcUnavailable.
    """
    market = Pubkey.from_string(address)
    config_account, market_account = await rpc.accounts([program.pdas.global_config(), market])
    if config_account is None or config_account.owner != program.program_id:
        raise ProtocolNotInitialized(program_id=str(program.program_id))
    if market_account is None or market_account.owner != program.program_id:
        raise MarketNotFound("The chain has no such market.", market=address)
    return LiveMarket(
        address=market,
        account=MarketAccount.decode(market_account.data),
        config=GlobalConfig.decode(config_account.data),
        slot=market_account.slot,
    )
