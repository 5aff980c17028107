"""Reads everything from the API and everything from the chain when the play is over, and compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.chain.discriminators import discriminator
from zmartd.chain.rpc import Rpc
from zmartd.embedded.demo.comparison import (
    Difference,
    PublishedMarket,
    compare_market,
    compare_positions,
    compare_sets,
)
from zmartd.embedded.demo.localnet_client import LocalChain
from zmartd.embedded.demo.participants import Cast, Production
from zmartd.embedded.demo.polling import together
from zmartd.embedded.demo.report import Audit, Report
from zmartd.embedded.demo.websocket_recorder import Quote, Watcher
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

_MOST_TRADES = "200"
_MOST_MARKETS = "100"


class MarketOnChain(Struct, frozen=True):
    """A market's account, and the lamports and bytes that it holds."""

    account: MarketAccount
    lamports: int
    size_bytes: int


class ProgramState(Struct, frozen=True):
    """All markets by address, and all positions by wallet and market address."""

    markets: Mapping[str, MarketOnChain]
    positions: Mapping[str, Mapping[str, UserPosition]]

    def positions_in(self, market: str) -> list[UserPosition]:
        return [held[market] for held in self.positions.values() if market in held]


async def read_program(rpc: Rpc, program_id: Pubkey) -> ProgramState:
    """Every account of the program that the API speaks of. Raises RpcUnavailable, UndecodableData."""
    markets = await rpc.program_accounts(program_id, {0: discriminator("account", "MarketAccount")})
    positions: dict[str, dict[str, UserPosition]] = {}
    for account in await rpc.program_accounts(program_id, {0: discriminator("account", "UserPosition")}):
        position = UserPosition.decode(account.data)
        positions.setdefault(str(position.user), {})[str(position.market)] = position
    return ProgramState(
        {
            str(one.address): MarketOnChain(MarketAccount.decode(one.data), one.lamports, len(one.data))
            for one in markets
        },
        positions,
    )


class Auditor:
    """Knows what the treasury held before the play."""

    def __init__(
        self, chain: LocalChain, rpc: Rpc, program_id: Pubkey, treasury: str, treasury_lamports: int
    ) -> None:
        self._chain = chain
        self._rpc = rpc
        self._program_id = program_id
        self._treasury = treasury
        self._treasury_lamports = treasury_lamports

    @classmethod
    async def before_the_play(cls, chain: LocalChain, rpc: Rpc, program_id: Pubkey, treasury: str) -> Self:
        """`treasury` is the address that protocol fees are paid to."""
        (lamports,) = await chain.balances([treasury])
        return cls(chain, rpc, program_id, treasury, lamports)

    async def audit(
        self, cast: Cast, markets: Sequence[Production], watcher: Watcher, report: Report
    ) -> Audit:
        """Compare every market, price and position; each difference becomes a failed step of the report."""
        program = await read_program(self._rpc, self._program_id)
        listed = (await cast.creator.get("/api/markets", limit=_MOST_MARKETS))["markets"]
        published = [await _published(cast, market["id"]) for market in listed]
        differences = compare_sets(
            "the list of markets", (one.market["on_chain_address"] for one in published), program.markets
        )
        for market in published:
            differences += self._of_market(market, program, watcher)
        wallets = [one.address for one in cast.everybody]
        shown = await together(*(one.get(f"/api/users/{one.address}/positions") for one in cast.everybody))
        held = {wallet: positions for wallet, positions in zip(wallets, shown, strict=True) if positions}
        differences += compare_sets("the list of holders", held, program.positions)
        accounts = {address: market.account for address, market in program.markets.items()}
        for wallet in held.keys() & program.positions.keys():
            differences += compare_positions(wallet, held[wallet], program.positions[wallet], accounts)
        differences += await self._books(program)
        _tell(report, markets, published, differences)
        return Audit(len(published), sum(map(len, held.values())), len(differences))

    def _of_market(self, shown: PublishedMarket, program: ProgramState, watcher: Watcher) -> list[Difference]:
        address = shown.market["on_chain_address"]
        if address not in program.markets:
            return []
        account = program.markets[address].account
        found = compare_market(shown, account, program.positions_in(address))
        told = watcher.quotes.get(shown.market["id"])
        true = Quote(shown.market["price_yes"], str(account.shares_yes + account.shares_no))
        if told != true:
            found.append(Difference(f"market {shown.market['id'][:8]}", "the last frame", told, true))
        return found

    async def _books(self, program: ProgramState) -> list[Difference]:
        """Every lamport is where it belongs: a market that has paid everybody holds its rent and no more."""
        found = []
        for market in program.markets.values():
            account = market.account
            owed = account.initial_liquidity if account.state is MarketState.PROPOSED else 0
            left = market.lamports - await self._chain.rent_lamports(market.size_bytes)
            if left != owed:
                subject = f"market {account.market_id.hex()[:8]}"
                found.append(Difference(subject, "lamports above its rent", owed, left))
        fees = sum(market.account.accumulated_protocol_fees for market in program.markets.values())
        (lamports,) = await self._chain.balances([self._treasury])
        if lamports - self._treasury_lamports != fees:
            received = lamports - self._treasury_lamports
            found.append(Difference("the treasury", "protocol fees received", fees, received))
        return found


async def _published(cast: Cast, market_id: str) -> PublishedMarket:
    path = f"/api/markets/{market_id}"
    return PublishedMarket(
        market=await cast.creator.get(path),
        trades=(await cast.creator.get(f"{path}/trades", limit=_MOST_TRADES))["trades"],
        prices=(await cast.creator.get(f"{path}/price-history", limit=_MOST_TRADES))["price_history"],
        statistics=(await cast.creator.get(f"{path}/stats"))["stats"],
    )


def _tell(
    report: Report,
    markets: Sequence[Production],
    published: Sequence[PublishedMarket],
    differences: Sequence[Difference],
) -> None:
    names = {market.market_id: market.name for market in markets}
    for one in sorted(published, key=lambda one: names.get(one.market["id"], "")):
        market = one.market
        volume = int(market["total_volume"]) / SCALE
        detail = (
            f"{market['state']}, YES at {market['price_yes']:.9f}, {len(one.trades)} trades, {volume:.9f} SOL"
        )
        report.add(names.get(market["id"], "?"), "compared with the chain", detail=detail)
    for difference in differences:
        report.add("", "a difference", ok=False, detail=str(difference))
