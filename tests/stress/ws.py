"""Streams over real sockets: two daemons, one Redis, hundreds of clients, and faults.

    python -m tests.stress.ws --seed 7 --minutes 10

Clients of the WebSocket and of Server-Sent Events disconnect, stall, unsubscribe, and resume on whichever
daemon; some have signed in, follow their wallet, and sign out. Daemons are killed and restarted, Redis and
Postgres crash, hang, lose connections or everything that they have, deliveries are doubled, dropped and
reordered, and blocks are rolled back. Every client checks every number, and what comes with it against the
database.

The last line is a summary. The exit status is 1 when a client missed a message, got one twice, out of order,
after it unsubscribed or after it signed out, or when a daemon has more tasks, sockets or entries of tables
once all are gone than before they came. The seed makes the same plan again. Everything runs on 127.0.0.1 and
ends with the program.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg
import click
from redis.asyncio import Redis

from tests.stress.accounts import Account
from tests.stress.faults import INBOX_POINTS, Fault, catalogue
from tests.stress.leftovers import descriptors, held, more
from tests.stress.rig import Rig, standing
from tests.stress.subscribers import RECEIVE_BYTES, EventSubscriber, Recorder, SocketSubscriber, Subscriber
from tests.stress.told import Told, Violation
from tests.stress.waiting import until
from zmartd.cancellation import cancel_all
from zmartd.faults import Point
from zmartd.log import configure as configure_log
from zmartd.realtime.messages import market_stream

CLIENTS = 200
SETTLE_SECONDS = 300.0
"""How long clients may take to have everything, once nothing happens any more."""
FAULTS_PER_VERDICT = 3
LEAVE_SECONDS = 60.0
"""How long it may take until a daemon has nothing more for clients that are gone."""
WARM_UP_SECONDS = 5.0
"""How long everybody acts before the first client comes: daemons then have what they need by themselves."""
LOOKS = 5
KINDS = (SocketSubscriber, SocketSubscriber, EventSubscriber)
RECORDERS = 2
SIGNED_IN = 0.4
"""The share of clients that have an account."""
_NEW_MARKETS_SECONDS = 0.5
_STREAMS = "select name, seq from streams order by id"
_MARKET = market_stream("")


class Audience:
    """The clients of a rig's daemons."""

    def __init__(self, rig: Rig, session: aiohttp.ClientSession, clients: int, rng: random.Random) -> None:
        self._rig = rig
        self._session = session
        self._told = Told()
        self._markets: list[str] = []
        self._before: list[Counter[str]] = []
        self._life: asyncio.Task[None] | None = None
        daemons, tokens = [daemon.url for daemon in rig.system.daemons], rig.system.tokens()
        self.clients: list[Subscriber] = []
        for number in range(clients):
            kind = KINDS[number % len(KINDS)]
            wallet = rig.wallets[number % len(rig.wallets)]
            account = Account(wallet, tokens) if rng.random() < SIGNED_IN else None
            own = random.Random(rng.random())
            self.clients.append(kind(session, daemons, self._told, own, account))
        for _ in range(RECORDERS):
            self.clients.append(Recorder(session, daemons, self._told, random.Random(rng.random())))

    async def look_before(self) -> None:
        """Note the most that daemons have for themselves in some seconds, before anybody comes."""
        self._before = await self._held()
        for _ in range(LOOKS):
            await asyncio.sleep(1.0)
            self._before = [one | other for one, other in zip(self._before, await self._held(), strict=True)]

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """They come and go for the length of a block."""
        self._life = asyncio.create_task(self._live())
        try:
            yield
        finally:
            for one in self.clients:
                one.leave()
            await cancel_all({self._life}, LEAVE_SECONDS)

    async def _live(self) -> None:
        """Let them come, and show them new markets, until all have left."""
        lives = [asyncio.create_task(one.live(self._markets)) for one in self.clients]
        looking = asyncio.create_task(self._look())
        try:
            await asyncio.gather(*lives)
        finally:
            looking.cancel()
            for life in lives:
                life.cancel()
            await asyncio.gather(looking, *lives, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until every client has everything that the database has. Nothing may happen meanwhile.

        Raises Violation, TimeoutError.
        """
        for one in self.clients:
            one.stay(on=True)
        try:
            await until(self._all_have_everything, SETTLE_SECONDS, "not every client has everything")
        except TimeoutError as error:
            raise Violation(f"{error}: {', '.join((await self._lacking())[:3])}") from error
        finally:
            for one in self.clients:
                one.stay(on=False)
        async with self._database() as connection:
            await self._told.compare(connection)

    async def leave(self) -> None:
        """Disconnect all of them, and see that daemons have nothing more for them. Raises Violation."""
        for one in self.clients:
            one.leave()
        left = ""

        async def nothing_is_left() -> bool:
            nonlocal left
            pairs = zip(self._before, await self._held(), strict=True)
            left = "; ".join(filter(None, (more(before, after) for before, after in pairs)))
            return not left

        try:
            await until(nothing_is_left, LEAVE_SECONDS, "leaked:")
        except TimeoutError as error:
            system = self._rig.system
            opened = [descriptors(one, system.server_ports).most_common() for one in system.daemons]
            raise Violation(f"{error} {left}; open are {opened}") from error

    def check(self) -> None:
        """Raises the first Violation that a client has seen, and whatever else ended one of them."""
        for one in self.clients:
            if one.violation is not None:
                raise one.violation
        if self._life is not None and self._life.done():
            self._life.result()

    @property
    def done(self) -> Counter[str]:
        """What they have been told, in all."""
        total = Counter(connections=sum(one.connections for one in self.clients))
        for one in self.clients:
            total += one.done
            for subscription in one.subscriptions.values():
                total += subscription.done
        return total

    async def _look(self) -> None:
        while True:
            with suppress(OSError, asyncpg.PostgresError, TimeoutError):
                names = [name for name in await self._ends() if name.startswith(_MARKET)]
                self._markets[:] = [name.removeprefix(_MARKET) for name in names]
            await asyncio.sleep(_NEW_MARKETS_SECONDS)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._rig.system.postgres.dsn)
        try:
            await connection.execute("set role service_role")
            yield connection
        finally:
            await connection.close()

    async def _ends(self) -> dict[str, int]:
        """The number of the last message of each stream."""
        async with self._database() as connection:
            return {row["name"]: row["seq"] for row in await connection.fetch(_STREAMS)}

    async def _all_have_everything(self) -> bool:
        self.check()
        return not await self._lacking()

    async def _lacking(self) -> list[str]:
        """What clients lack yet."""
        ends = await self._ends()
        return [
            f"{type(one).__name__} has {subscription.seq} of {ends.get(subscription.stream, 0)}"
            for one in self.clients
            for subscription in one.subscriptions.values()
            if not (subscription.gone or subscription.current)
            or (subscription.current and subscription.seq != ends.get(subscription.stream, 0))
        ]

    async def _held(self) -> list[Counter[str]]:
        """What each daemon has for clients, and what Redis says that they have."""
        system = self._rig.system
        found = [await held(self._session, one, system.server_ports) for one in system.daemons]
        redis = Redis.from_url(system.valkey.url)
        try:
            return [*found, Counter({"places in Redis": len(await redis.keys("{ws}:places:*"))})]
        finally:
            await redis.aclose()


async def _kill_second(rig: Rig) -> None:
    await asyncio.sleep(1.0)
    await rig.system.daemons[1].kill()


async def _stop_second(rig: Rig) -> None:
    await asyncio.sleep(1.0)
    await rig.system.daemons[1].stop()


async def _start_second(rig: Rig) -> None:
    await rig.system.daemons[1].start()


def faults() -> list[Fault]:
    """What the index is tried with, and the second daemon.

    But for deaths in what either daemon may do: nobody knows which of them comes by there.
    """
    either = {*Point} - {*INBOX_POINTS} | {Point.APPLY_UNDONE}
    return [
        *(fault for fault in catalogue() if fault.moment not in either),
        Fault("kill -9", "the second daemon", "second daemon", _kill_second, _start_second),
        Fault("restart in order", "the second daemon", "second daemon", _stop_second, _start_second),
    ]


def session_of_clients() -> aiohttp.ClientSession:
    """Opens a connection for each request, and lets it wait for ever."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=RECEIVE_BYTES,
    )


@asynccontextmanager
async def audience(directory: Path, rng: random.Random, clients: int) -> AsyncIterator[tuple[Rig, Audience]]:
    """A rig with two daemons, and the clients of both, who come at once."""
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(standing(directory, rng))
        await rig.system.start_another_daemon(stack)
        session = await stack.enter_async_context(session_of_clients())
        present = Audience(rig, session, clients, rng)
        rig.go()
        await asyncio.sleep(WARM_UP_SECONDS)
        await present.look_before()
        async with present.alive():
            yield rig, present


async def judge(rig: Rig, present: Audience) -> None:
    """Wait until the index equals the chain, and every client has everything. Raises Violation."""
    verdict, _ = await rig.recovered()
    if not verdict.clean:
        raise Violation(f"the index differs from the chain: {verdict}")
    await present.settle()


async def run(
    directory: Path, seed: int, chosen: Sequence[Fault], seconds: float | None, clients: int = CLIENTS
) -> Counter[str]:
    """Each fault once, or some at random for so many seconds. What was done. Raises Violation."""
    rng = random.Random(seed)
    struck: Counter[str] = Counter()
    async with audience(directory, random.Random(seed), clients) as (rig, present):
        deadline = time.monotonic() + (seconds or 0)
        left = list(chosen)
        while left if seconds is None else time.monotonic() < deadline:
            fault = left.pop(0) if seconds is None else rng.choice(chosen)
            rig.go()
            await fault.strike(rig)
            await fault.heal(rig)
            present.check()
            struck["faults"] += 1
            click.echo(f"{fault.name}: {present.done['frames']} frames", err=True)
            if struck["faults"] % FAULTS_PER_VERDICT == 0:
                await judge(rig, present)
        await judge(rig, present)
        await present.leave()
        return struck + present.done


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same plan.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
@click.option("--clients", type=click.IntRange(1, 5_000), default=CLIENTS, show_default=True)
def main(seed: int, minutes: float, clients: int) -> None:
    """Break things, and see whether every client gets every message once and in order."""
    configure_log("error", "console", sys.stderr)
    with tempfile.TemporaryDirectory(prefix="zmartd-ws-") as directory:
        place = Path(directory).resolve()
        place.chmod(0o711)
        try:
            done = asyncio.run(run(place, seed, faults(), minutes * 60, clients))
        except Violation as violation:
            click.echo(f"seed {seed}: VIOLATION: {violation}")
            sys.exit(1)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(done.items()))
    click.echo(f"seed {seed}: 0 violations; {counts}")


if __name__ == "__main__":
    main()
