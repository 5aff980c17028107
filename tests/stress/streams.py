"""Streams under faults: hubs that start and stop, messages that get lost, come twice or in another order, a
Redis that is killed, and clients of markets and of wallets that come, go, resume, sign out, and are doubted.

    python -m tests.stress.streams --seed 7 --minutes 10

Every client checks every number against what the database has. The last line is a summary; the exit status is
1 when a client missed a message, or got one twice or out of order. The seed makes the same plan again.
Everything runs on 127.0.0.1 and ends with the program.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import click
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.realtime.listeners import (
    ADDRESS,
    MARKET,
    OTHER_MARKET,
    TRADER,
    Markets,
    RecordingWriter,
    state,
    trade,
)
from tests.stress.told import Violation
from tests.stress.waiting import until
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.log import configure as configure_log
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import (
    AnyMessage,
    OwnTransaction,
    VoteCast,
    market_stream,
    wallet_of,
    wallet_stream,
)
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.store.streams import StreamPosition

HUBS = 2
NAMES = (MARKET, OTHER_MARKET, wallet_stream(TRADER), wallet_stream(ADDRESS))
TRADES = Filter(kinds=frozenset({"trade"}))
QUIET_SECONDS = 120.0
"""How long clients may take to have everything once nothing happens any more."""
_VOTE = VoteCast(vote_type=VoteKind.PROPOSAL)
_SENT = OwnTransaction(signature="s", status="sent")
_ENDS = """
select stream.name, stream.seq,
       max(message.seq) filter (where convert_from(body, 'utf8') like '%"type":"trade"%') as traded
  from streams as stream left join stream_messages as message on message.stream_id = stream.id
 group by stream.id
"""


class Watcher:
    """A client of one market or wallet that outlives its connections. It checks each frame as it comes."""

    def __init__(self, name: str, chosen: Filter | None) -> None:
        self.name = name
        self.wallet = wallet_of(name)
        self.chosen = chosen if self.wallet is None else None
        self.position: StreamPosition | None = None
        self.frames = 0
        self.recovered = 0
        self.refused = 0
        self._writer = RecordingWriter()
        self._seen = 0

    def connect(self) -> RecordingWriter:
        """A new connection."""
        self._writer, self._seen = RecordingWriter(), 0
        return self._writer

    def check(self) -> None:
        """Check the frames that have come since. Raises Violation."""
        for frame in self._writer.frames[self._seen :]:
            self._seen += 1
            self.frames += 1
            self._check(frame)

    def _check(self, frame: dict[str, Any]) -> None:
        if frame.get("channel") not in {None, self.name}:
            raise Violation(f"{self.name} got what is for {frame['channel']}")
        if frame["type"] == "subscribed":
            (begun,) = frame["data"]["channels"]
            if begun["known"]:
                self._check({"type": "begun", "epoch": begun["epoch"], "seq": begun["seq"], "data": begun})
        if "seq" not in frame:
            return
        data, seq = frame["data"], frame["seq"]
        if data.get("recovered") is True:
            self.recovered += 1
            if self.position is None or seq != self.position.seq:
                raise Violation(f"resumed at {seq} instead of {self.position}")
            return
        if "epoch" in frame:  # a state, at a position
            self.refused += data.get("recovered") is False
            self.position = StreamPosition(frame["epoch"], seq)
            return
        before = seq - 1 if self.chosen is None else frame["prev_seq"]
        is_next = self.position is not None and before <= self.position.seq < seq
        if self.position is None or not is_next:
            raise Violation(f"message {seq} of {self.name[:4]} after {self.position}")
        self.position = StreamPosition(self.position.epoch, seq)


class Rig:
    """Hubs on one database and one Redis, whoever commits, and the clients."""

    def __init__(self, database: Database, valkey: EmbeddedValkey, rng: random.Random) -> None:
        self.rng = rng
        self.database = database
        self.valkey = valkey
        self.done: Counter[str] = Counter()
        self.watchers = [Watcher(rng.choice(NAMES), rng.choice([None, TRADES])) for _ in range(60)]
        self._hubs: list[tuple[Hub, asyncio.Task[None], Redis]] = []
        self._at: dict[Watcher, tuple[Hub, Client]] = {}
        self._publisher = self._redis()
        self._markets = Markets(database, Bus(self._publisher, SystemClock()))
        self._late: list[list[AnyMessage]] = []

    async def open(self) -> None:
        await self._markets.create()
        for _ in range(HUBS):
            await self._start_hub()

    async def close(self) -> None:
        for hub in list(self._hubs):
            await self._stop_hub(hub)
        await self._publisher.aclose()

    def _redis(self) -> Redis:
        return Redis.from_url(self.valkey.url, retry=Retry(NoBackoff(), 0))

    async def _start_hub(self) -> None:
        redis = self._redis()
        hub = Hub(
            Bus(redis, SystemClock()),
            StreamHistory(self.database),
            config.RealtimeSettings(max_buffered_bytes=10**9),
            SystemClock(),
        )
        task = asyncio.create_task(hub.run())
        self._hubs.append((hub, task, redis))

    async def _stop_hub(self, one: tuple[Hub, asyncio.Task[None], Redis]) -> None:
        """Its clients lose their connections."""
        hub, task, redis = one
        self._hubs.remove(one)
        self._at = {watcher: at for watcher, at in self._at.items() if at[0] is not hub}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await redis.aclose()

    async def step(self) -> None:
        """One thing that happens, chosen at random."""
        happening = self.rng.choices(list(_ODDS), list(_ODDS.values()))[0]
        self.done[happening.__name__.strip("_")] += 1
        await happening(self)
        self.check()

    def check(self) -> None:
        for watcher in self.watchers:
            watcher.check()

    async def _change(self) -> None:
        name, wallet = (chosen := self.rng.choice(NAMES)), wallet_of(chosen)
        said = [trade(), state(1)] if self.rng.random() < 0.7 else [_VOTE]
        if wallet is None:
            await self._markets.change(*said, market_id=name)
        else:
            await self._markets.tell(wallet, *[_SENT] * len(said))

    async def _lose(self) -> None:
        """A daemon dies between its commit and its message, or the message comes late."""
        name, wallet = (chosen := self.rng.choice(NAMES)), wallet_of(chosen)
        lost: list[AnyMessage] = []
        if wallet is None:
            lost += await self._markets.commit(trade(), _VOTE, state(1), market_id=name)
        else:
            lost += await self._markets.commit_for(wallet, _SENT, _SENT, _SENT)
        if self.rng.random() < 0.7:
            self.rng.shuffle(lost)
            self._late.append(lost)

    async def _publish_late(self) -> None:
        if self._late:
            late = self._late.pop(self.rng.randrange(len(self._late)))
            await self._markets.publish(late * self.rng.randint(1, 2))

    async def _come(self) -> None:
        away = [one for one in self.watchers if one not in self._at]
        if not away:
            return
        watcher, (hub, _, _) = self.rng.choice(away), self.rng.choice(self._hubs)
        resumes = watcher.position is not None and self.rng.random() < 0.8
        client = hub.connect(watcher.connect())
        self._at[watcher] = hub, client
        if watcher.wallet is not None:
            hub.sign_in(client, watcher.wallet)
        since = watcher.position if resumes else None
        if self.rng.random() < 0.5:
            await hub.subscribe(client, watcher.name, since=since, chosen=watcher.chosen)
        else:
            labels = {watcher.name: watcher.name}
            await hub.subscribe_to_many(client, {watcher.name: since}, labels, chosen=watcher.chosen)
        if self.rng.random() < 0.1:
            await hub.subscribe(client, EVERY_MARKET)
            hub.unsubscribe(client, EVERY_MARKET)

    async def _go(self) -> None:
        if not self._at:
            return
        watcher = self.rng.choice(list(self._at))
        hub, client = self._at.pop(watcher)
        await asyncio.sleep(0)  # what was sent before is written at the end of the turn
        watcher.check()
        if self.rng.random() < 0.5:
            hub.unsubscribe(client, watcher.name)
        hub.disconnect(client)

    async def _doubt(self) -> None:
        """For a while nobody knows who is signed in."""
        doubted = [client for watcher, (_, client) in self._at.items() if self.rng.random() < 0.3]
        for hub, client in [at for at in self._at.values() if at[1] in doubted]:
            hub.set_trusted(client, False)
        await self._change()
        for hub, client in [at for at in self._at.values() if at[1] in doubted]:
            hub.set_trusted(client, True)

    async def _sign_out(self) -> None:
        """Its stream ends; it comes back with another connection."""
        own = [one for one in self._at if one.wallet is not None]
        if own:
            watcher = self.rng.choice(own)
            hub, client = self._at.pop(watcher)
            hub.sign_out(client)
            client.flush()  # what was sent before waits for up to MAX_PAUSE_SECONDS
            watcher.check()
            frames = watcher.frames
            await self._change()
            watcher.check()
            if watcher.frames != frames:
                raise Violation(f"{watcher.name} got a frame after it was signed out")
            hub.disconnect(client)

    async def _restart_hub(self) -> None:
        await self._stop_hub(self.rng.choice(self._hubs))
        await self._start_hub()

    async def _break_redis(self) -> None:
        await self.valkey.stop()
        await self._change()
        await self.valkey.start()

    async def _forget_history(self) -> None:
        """Nobody can resume from before any more."""
        async with self.database.service() as connection:
            await connection.execute(
                "delete from stream_messages as old using streams as stream"
                " where stream.id = old.stream_id and old.seq < stream.seq - 20"
            )

    async def settle(self) -> None:
        """Bring every client back, and wait until each has everything. Raises Violation, TimeoutError."""
        while len(self._at) < len(self.watchers):
            await self._come()
            self.check()
        async with self.database.service() as connection:
            rows = {row["name"]: row for row in await connection.fetch(_ENDS)}

        def has_everything(one: Watcher) -> bool:
            row = rows.get(one.name if one.wallet else market_stream(one.name))
            if one.position is None or row is None:
                return one.position is not None
            if one.chosen is None:
                return one.position.seq == int(row["seq"])
            return one.position.seq >= int(row["traded"] or 0)

        async def all_have_everything() -> bool:
            self.check()
            return all(has_everything(one) for one in self.watchers)

        await until(all_have_everything, QUIET_SECONDS, "not every client has everything:")


_ODDS: Mapping[Callable[[Rig], Awaitable[None]], int] = {
    Rig._change: 40,
    Rig._come: 25,
    Rig._go: 12,
    Rig._lose: 8,
    Rig._publish_late: 8,
    Rig._doubt: 4,
    Rig._sign_out: 3,
    Rig._restart_hub: 2,
    Rig._break_redis: 1,
    Rig._forget_history: 1,
}
"""How often each thing happens, of so many in all."""


@asynccontextmanager
async def standing(directory: Path, rng: random.Random) -> AsyncIterator[Rig]:
    """The rig, with servers of its own in `directory`, which others must be able to enter."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(EmbeddedPostgres(directory / "postgres"))
        valkey = await stack.enter_async_context(EmbeddedValkey(directory / "valkey"))
        await migrate(postgres.dsn)
        database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(postgres.dsn)))
        stack.push_async_callback(database.close)
        rig = Rig(database, valkey, rng)
        await rig.open()
        stack.push_async_callback(rig.close)
        yield rig


async def run(directory: Path, seed: int, *, steps: int | None = None, minutes: float = 0) -> Rig:
    """So many steps, or as many as there is time for; then everybody settles. Raises Violation."""
    loop = asyncio.get_running_loop()
    async with standing(directory, random.Random(seed)) as rig:
        ends_at, number = loop.time() + minutes * 60, 0
        while number < steps if steps is not None else loop.time() < ends_at:
            number += 1
            await rig.step()
            if number % 500 == 0:
                await rig.settle()
        await rig.settle()
    return rig


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same plan.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
def main(seed: int, minutes: float) -> None:
    """Break what carries streams, and see whether every client gets every message once and in order."""
    configure_log("error", "console", sys.stderr)
    with tempfile.TemporaryDirectory(prefix="zmartd-streams-") as directory:
        Path(directory).chmod(0o711)
        try:
            rig = asyncio.run(run(Path(directory), seed, minutes=minutes))
        except (Violation, TimeoutError) as error:
            click.echo(f"seed {seed}: {error}")
            sys.exit(1)
    done = ", ".join(f"{name} {count}" for name, count in sorted(rig.done.items()))
    frames = sum(one.frames for one in rig.watchers)
    recovered, refused = (
        sum(getattr(one, kind) for one in rig.watchers) for kind in ("recovered", "refused")
    )
    click.echo(
        f"seed {seed}: {frames} frames, {recovered} resumed, {refused} began anew, 0 violations ({done})"
    )


if __name__ == "__main__":
    main()
