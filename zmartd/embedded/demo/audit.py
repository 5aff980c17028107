"""Compares everything that the API shows with the chain's accounts at the end of the demonstration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.chain.discriminators import discriminator
from zmartd.chain.rpc import Rpc
from zmartd.embedded.demo.comparison import (
    Mismatch,
    PublishedMarket,
    compare_market,
    compare_positions,
    compare_sets,
)
from zmartd.embedded.demo.localnet_client import LocalnetClient
from zmartd.embedded.demo.participants import DemoMarket, Participants
from zmartd.embedded.demo.polling import gather_all
from zmartd.embedded.demo.report import Audit, Report
from zmartd.embedded.demo.websocket_recorder import RecordedPrice, WebSocketRecorder
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

_MOST_TRADES = "200"
_MOST_MARKETS = "100"


class MarketOnChain(Struct, frozen=True):
    """A market's account, its lamports and its size."""

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
    """All market and position accounts of the program. Raises RpcUnavailable, UndecodableData."""
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
    """Compares the API with the chain. It is made first, since it needs the treasury's balance before."""

    def __init__(
        self, chain: LocalnetClient, rpc: Rpc, program_id: Pubkey, treasury: str, treasury_lamports: int
    ) -> None:
        self._chain = chain
        self._rpc = rpc
        self._program_id = program_id
        self._treasury = treasury
        self._treasury_lamports = treasury_lamports

    @classmethod
    async def before_the_demo(
        cls, chain: LocalnetClient, rpc: Rpc, program_id: Pubkey, treasury: str
    ) -> Self:
        """`treasury` is the address that protocol fees are paid to."""
        (lamports,) = await chain.balances([treasury])
        return cls(chain, rpc, program_id, treasury, lamports)

    async def audit(
        self,
        participants: Participants,
        markets: Sequence[DemoMarket],
        recorder: WebSocketRecorder,
        report: Report,
    ) -> Audit:
        """Compare every market, price and position; each difference becomes a failed step of the report."""
        program = await read_program(self._rpc, self._program_id)
        listed = (await participants.creator.get("/api/markets", limit=_MOST_MARKETS))["markets"]
        published = [await _published(participants, market["id"]) for market in listed]
        differences = compare_sets(
            "the list of markets", (one.market["on_chain_address"] for one in published), program.markets
        )
        for market in published:
            differences += self._of_market(market, program, recorder)
        wallets = [one.address for one in participants.everyone]
        shown = await gather_all(
            *(one.get(f"/api/users/{one.address}/positions") for one in participants.everyone)
        )
        held = {wallet: positions for wallet, positions in zip(wallets, shown, strict=True) if positions}
        differences += compare_sets("the list of holders", held, program.positions)
        accounts = {address: market.account for address, market in program.markets.items()}
        for wallet in held.keys() & program.positions.keys():
            differences += compare_positions(wallet, held[wallet], program.positions[wallet], accounts)
        differences += await self._compare_lamports(program)
        _report_result(report, markets, published, differences)
        return Audit(len(published), sum(map(len, held.values())), len(differences))

    def _of_market(
        self, shown: PublishedMarket, program: ProgramState, recorder: WebSocketRecorder
    ) -> list[Mismatch]:
        address = shown.market["on_chain_address"]
        if address not in program.markets:
            return []
        account = program.markets[address].account
        found = compare_market(shown, account, program.positions_in(address))
        recorded = recorder.prices.get(shown.market["id"])
        expected = RecordedPrice(shown.market["price_yes"], str(account.shares_yes + account.shares_no))
        if recorded != expected:
            found.append(Mismatch(f"market {shown.market['id'][:8]}", "the last frame", recorded, expected))
        return found

    async def _compare_lamports(self, program: ProgramState) -> list[Mismatch]:
        """Compare lamports: markets that have paid everyone hold only their rent, the treasury all fees."""
        found = []
        for market in program.markets.values():
            account = market.account
            owed = account.initial_liquidity if account.state is MarketState.PROPOSED else 0
            left = market.lamports - await self._chain.rent_lamports(market.size_bytes)
            if left != owed:
                subject = f"market {account.market_id.hex()[:8]}"
                found.append(Mismatch(subject, "lamports above its rent", owed, left))
        fees = sum(market.account.accumulated_protocol_fees for market in program.markets.values())
        (lamports,) = await self._chain.balances([self._treasury])
        if lamports - self._treasury_lamports != fees:
            received = lamports - self._treasury_lamports
            found.append(Mismatch("the treasury", "protocol fees received", fees, received))
        return found


async def _published(participants: Participants, market_id: str) -> PublishedMarket:
    path = f"/api/markets/{market_id}"
    return PublishedMarket(
        market=await participants.creator.get(path),
        trades=(await participants.creator.get(f"{path}/trades", limit=_MOST_TRADES))["trades"],
        prices=(await participants.creator.get(f"{path}/price-history", limit=_MOST_TRADES))["price_history"],
        statistics=(await participants.creator.get(f"{path}/stats"))["stats"],
    )


def _report_result(
    report: Report,
    markets: Sequence[DemoMarket],
    published: Sequence[PublishedMarket],
    differences: Sequence[Mismatch],
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
