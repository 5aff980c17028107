"""The system, the people who use it, and what may be asked of both while something is broken."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg

from tests.stress.crowd import Crowd, wallets
from tests.stress.customers import TIMEOUT_SECONDS, Customer
from tests.stress.ledger import Ledger, Verdict
from tests.stress.system import System
from tests.stress.waiting import until
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock

CUSTOMERS = 2
RECOVERY_SECONDS = 300.0
"""How long the index may take to equal the chain again, once everything works."""
AFTERTHOUGHT_SECONDS = 1.5
"""Then what is late may still come, and must change nothing."""

_UNDER_WAY = "select exists (select from outbox_transactions where status = 'pending')"


class Rig:
    """Traffic on a whole system, and the verdict on it."""

    def __init__(
        self,
        system: System,
        crowd: Crowd,
        customers: list[Customer],
        ledger: Ledger,
        wallets: Sequence[str],
        lives: Sequence[asyncio.Task[None]],
    ) -> None:
        """`wallets`: those of the crowd and the customers, who live in `lives`."""
        self.system = system
        self.wallets = wallets
        self.crowd = crowd
        self._people: list[Crowd | Customer] = [crowd, *customers]
        self._ledger = ledger
        self._lives = lives
        self._reconciling = True

    def go(self) -> None:
        """Let everybody act. Raises what ended one of them before."""
        for life in self._lives:
            if life.done():
                life.result()
        for one in self._people:
            one.go()

    def rest(self) -> None:
        for one in self._people:
            one.rest()

    async def reconcile(self, *, on: bool) -> None:
        """Make the daemon run with or without its reconciler: it starts anew where that changes."""
        if on is self._reconciling:
            return
        self._reconciling = on
        self.system.configure(reconciling=on)
        await self.system.daemon.stop()
        await self.system.daemon.start()

    async def recovered(self) -> tuple[Verdict, float]:
        """The verdict once nobody acts any more, and the seconds until there was nothing to object to.

        What is never put right is found in the verdict, as it stands after RECOVERY_SECONDS.
        """
        self.rest()
        began = time.monotonic()
        while True:
            verdict = await self.verdict()
            seconds = time.monotonic() - began
            if verdict.clean:
                # What a node lost is sent again later, and would land in the middle of the second look.
                await until(self._nothing_is_under_way, RECOVERY_SECONDS, "the outbox is not empty")
                await asyncio.sleep(AFTERTHOUGHT_SECONDS)
                verdict = await self.verdict()
            # What landed just before the second look may not be indexed yet: then both looks are repeated.
            if verdict.clean or seconds > RECOVERY_SECONDS:
                return verdict, seconds
            await asyncio.sleep(0.2)

    async def _nothing_is_under_way(self) -> bool:
        connection = await asyncpg.connect(self.system.postgres.dsn)
        try:
            await connection.execute("set role service_role")
            return not await connection.fetchval(_UNDER_WAY)
        finally:
            await connection.close()

    async def verdict(self) -> Verdict:
        """What is true at this moment."""
        return await self._ledger.compare(
            self.system.postgres.dsn,
            self.system.postbox.acknowledged,
            inbox_only=not self._reconciling,
        )

    async def replayed(self) -> tuple[str, ...]:
        """What differs from a replay of the whole history: a line for each table."""
        tables = await self._ledger.replay(self.system.postgres.dsn)
        return tuple(f"{table} differs from a replay" for table in tables)


@asynccontextmanager
async def standing(directory: Path, rng: random.Random) -> AsyncIterator[Rig]:
    """A rig for the length of a block; `directory` is absolute. Nothing acts before it is told to go."""
    people = wallets(rng)
    buyers = wallets(rng, CUSTOMERS)
    addresses = [wallet.pubkey() for wallet in (*people, *buyers)]
    async with AsyncExitStack() as stack:
        system = System(directory, addresses)
        await system.start(stack)
        rpc = await stack.enter_async_context(Rpc(system.rpc_url, clock=SystemClock()))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),  # so that nobody's rest is taken for a leak
                timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS),
            )
        )
        crowd = Crowd(rpc, system.program_id, system.treasury.pubkey(), people, rng)
        customers = [Customer(wallet, session, system.api, system.program_id, rng) for wallet in buyers]
        lives = [
            asyncio.create_task(crowd.live()),
            *(asyncio.create_task(one.live(lambda: crowd.trading)) for one in customers),
        ]
        stack.push_async_callback(_end, lives)
        ledger = Ledger(rpc, system.program_id, system.authority.pubkey())
        yield Rig(system, crowd, customers, ledger, [str(one) for one in addresses], lives)


async def _end(lives: list[asyncio.Task[None]]) -> None:
    for life in lives:
        life.cancel()
    for life in lives:
        with suppress(asyncio.CancelledError):
            await life
