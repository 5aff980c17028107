"""`zmartd dev --demo`: wallets that trade, tell it, and leave the markets of others alone."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from solders.keypair import Keypair

from tests.e2e.development import Development, wait_until_gone
from tests.signing_wallet import FixedClock
from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.demo.localnet_client import LocalnetClient
from zmartd.embedded.demo.polling import wait_for
from zmartd.embedded.demo.wallet_client import ApiRefused, WalletClient
from zmartd.embedded.happening import Happening
from zmartd.embedded.simulated_markets import WATCH_SECONDS, SimulatedMarkets
from zmartd.market.lmsr import SCALE

PATIENCE_SECONDS = 600
WINDOW = timedelta(days=3, minutes=2)


class Life(Development):
    """A development system with traders in it, and what it says about them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "--demo")
        self.said: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    @property
    def markets(self) -> list[dict[str, Any]]:
        markets: list[dict[str, Any]] = self.get("api", "/api/markets?limit=100")["markets"]
        return markets

    @property
    def trades(self) -> int:
        return sum(market["trades_count"] for market in self.markets)

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE_SECONDS)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[], Life]]:
    """Starts a system, always on the same data; none outlives the test."""
    begun: list[Life] = []

    def start() -> Life:
        begun.append(Life(tmp_path))
        return begun[-1]

    yield start
    for life in begun:
        if life.process.poll() is None:
            life.end(signal.SIGKILL)
    assert wait_until_gone(tmp_path) == []


def test_the_same_wallets_go_on_trading_after_everything_was_killed(begin: Callable[[], Life]) -> None:
    life = begin()
    wait_until(lambda: sum(one["what"] in {"bought", "sold"} for one in life.said) >= 2)
    assert life.trades >= 2
    told = next(one for one in life.said if one["what"] == "bought")
    assert told["event"] == "demo"
    assert told["market_id"] in {market["id"] for market in life.markets}
    assert " SOL" in told["detail"]
    assert {"proposed", "approved", "activated"} <= {one["what"] for one in life.said}
    creators = {market["creator_wallet"] for market in life.markets}
    life.end(signal.SIGKILL)

    again = begin()
    kept = again.trades
    assert kept >= 2
    wait_until(lambda: again.trades >= kept + 2)
    known = {market["creator_wallet"] for market in again.markets}
    assert creators <= known
    assert len(known) <= 6
    again.end(signal.SIGTERM)
    assert again.process.returncode == 0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Development]:
    development = Development(tmp_path, ZMARTD_VOTING_MIN_PROPOSAL_VOTES="1")
    yield development
    development.stop(signal.SIGTERM)
    assert wait_until_gone(tmp_path) == []


async def test_its_markets_come_to_their_payout_and_others_keep_their_time(system: Development) -> None:
    doors, clock, told = system.doors, FixedClock(), list[Happening]()
    authority = Keypair.from_json(system.read("authority.json"))
    program_id = default_idl().program_id
    async with ClientSession() as session, Rpc(doors["rpc"], clock=SystemClock()) as rpc:
        chain = LocalnetClient(session, doors["rpc"])
        trader, stranger, admin = (
            WalletClient(name, wallet, session, doors["api"], program_id)
            for name, wallet in (
                ("a trader", Keypair()),
                ("a stranger", Keypair()),
                ("the admin", authority),
            )
        )
        await chain.fund([trader.address, stranger.address], 1_000 * SCALE)
        for wallet in (trader, stranger, admin):
            await wallet.sign_in()
        markets = SimulatedMarkets(
            wallets=[trader.address],
            admin=admin,
            rpc=rpc,
            chain=chain,
            windows={"RESOLVING": WINDOW, "DISPUTED": WINDOW},
            clock=clock,
            tell=told.append,
        )

        async def state(market_id: str) -> str:
            return str((await trader.get(f"/api/markets/{market_id}"))["state"])

        async def advance_when_watched() -> None:
            await markets.advance()
            clock.now += WATCH_SECONDS
            await markets.advance()

        foreign = await open_market(stranger, "Will the stranger's market be left alone?", rpc, days=30)
        first = await open_market(trader, "Will the first market be paid out at once?", rpc, days=30)
        bought = {"market_id": first, "outcome": True, "target_cost": str(SCALE)}
        await trader.transact("/api/trades/buy", bought)
        await resolve(trader, first)
        await advance_when_watched()
        assert {market["id"] for market in markets.rows} == {first}
        assert [one.what for one in told] == ["travelled"]

        async def is_final() -> bool | None:
            await markets.advance()
            return told[-1].what == "finalized" or None

        await wait_for(is_final, "the first market was not finalized")
        assert [one.what for one in told] == ["travelled", "finalized"]
        assert await state(first) == "FINALIZED"
        position = await trader.get(f"/api/users/{trader.address}/positions/{first}")
        assert int(position["claimable"]) > 0
        assert await state(foreign) == "ACTIVE"

        second = await open_market(trader, "Will the second market wait for the stranger's?", rpc, days=30)
        await resolve(trader, second)
        await resolve(stranger, foreign)
        before = (await rpc.chain_time()).unix_timestamp
        await advance_when_watched()
        await markets.advance()
        assert [(one.what, one.market_id) for one in told[2:]] == [("waiting", foreign)]
        assert "`zmartd travel 73h` lets them all pass" in told[-1].detail
        assert (await rpc.chain_time()).unix_timestamp - before < 3_600
        assert (await state(foreign), await state(second)) == ("RESOLVING", "RESOLVING")


async def open_market(creator: WalletClient, question: str, rpc: Rpc, *, days: int) -> str:
    """Propose a market, vote for it, and open it for trading."""
    now = datetime.fromtimestamp((await rpc.chain_time()).unix_timestamp, UTC)
    proposal = {
        "question": question,
        "category": "other",
        "end_date": (now + timedelta(days=days)).isoformat(),
        "initial_liquidity": SCALE,
    }
    registered = await creator.post("/api/markets", proposal)
    await creator.send(registered["transaction"])
    market_id = str(registered["market"]["id"])
    await creator.post("/api/votes/proposal", {"market_id": market_id, "vote": True})

    async def approved() -> bool | None:
        return (await creator.get(f"/api/markets/{market_id}"))["state"] == "APPROVED" or None

    await wait_for(approved, "the market was not approved")
    await creator.transact(f"/api/markets/{market_id}/activate")
    return market_id


async def resolve(creator: WalletClient, market_id: str) -> None:
    """Propose YES, as soon as the program lets it: in a later second than the activation."""

    async def resolved() -> bool | None:
        body = {"outcome": True, "evidence": "seen", "early": True, "early_reason": "It happened early."}
        try:
            await creator.transact(f"/api/markets/{market_id}/resolve", body)
        except ApiRefused as refused:
            if refused.status == 409:
                return None
            raise
        return True

    await wait_for(resolved, "the market could not be resolved")
