"""Votes under faults: cast through the API and on the chain, taken back by forks, and shown by two daemons
that share a vote cache, on a Redis that forgets, is killed and has what others wrote, and a Postgres that
breaks its connections.

    python -m tests.stress.votes --seed 7 --minutes 10

After each burst every daemon's answers about every market have to be what a count of the rows gives. The last
line is a summary; the exit status is 1 where one was not.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import click
from redis.asyncio import Redis
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.event_loop import run as run_loop
from tests.integration.http.rest.rest_api import Api, Caller, running_api
from tests.integration.indexer.story import Story
from tests.patience import patient_database
from tests.statements import execute
from zmartd.chain import events
from zmartd.chain.transactions import ChainTransaction
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.log import configure as configure_log
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

_TRUTH = {
    "proposal": """
        select count(*) filter (where vote) as yes, count(*) filter (where not vote) as no, 0 as others
          from proposal_votes where market_id = $1
    """,
    "dispute": """
        with known as (select user_wallet from dispute_electorate where market_id = $1)
        select count(*) filter (where vote and user_wallet in (select * from known)) as yes,
               count(*) filter (where not vote and user_wallet in (select * from known)) as no,
               count(*) filter (where user_wallet not in (select * from known)) as others
          from dispute_votes where market_id = $1
    """,
}
_BREAK_CONNECTIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
 where pid <> pg_backend_pid() and datname = current_database()
"""


@dataclass
class Found:
    """What a run did, and what was not as it should be."""

    bursts: int = 0
    votes: int = 0
    forks: int = 0
    faults: int = 0
    compared: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class _Market:
    story: Story
    told: int = 0
    """How many of its transactions are indexed."""
    lost: list[ChainTransaction] = field(default_factory=list)
    """Those that a fork has taken, and that may come back."""

    @property
    def id(self) -> str:
        return self.story.market_id.hex()


class _Run:
    def __init__(
        self, rng: random.Random, apis: list[Api], valkey: EmbeddedValkey, database_url: str, found: Found
    ) -> None:
        self._rng = rng
        self._apis = apis
        self._valkey = valkey
        self._database_url = database_url
        self._found = found
        self._markets: list[_Market] = []

    async def begin(self) -> None:
        """Two proposals, and two disputed markets whose traders may vote."""
        for seed in range(4):
            story = Story(self._rng.randrange(2**32))
            story.create()
            if seed % 2:
                story.open_for_trading()
                story.trade(8)
                story.resolve(True)
                story.tell(events.DisputeInitiated(story.market_id, story.traders[0], True, story.now))
            market = _Market(story)
            await self._tell(market)
            self._markets.append(market)

    async def burst(self) -> None:
        """Some things at once, and then a look at everything."""
        self._found.bursts += 1
        actions: list[Callable[[], Awaitable[object]]] = [
            *[self._vote_through_the_api] * 4,
            *[self._vote_on_the_chain] * 3,
            *[self._look] * 3,
            self._fork,
            self._return,
        ]
        if self._rng.random() < 0.4:
            self._found.faults += 1
            actions += [self._rng.choice((self._forget, self._kill, self._scribble, self._break_connections))]
        chosen = self._rng.sample(actions, k=self._rng.randint(2, len(actions)))
        # A connection that breaks fails whatever used it: that is the caller's to repeat.
        await asyncio.gather(*(one() for one in chosen), return_exceptions=True)
        await self._compare()

    async def _vote_through_the_api(self) -> None:
        market = self._rng.choice(self._markets)
        kind = "dispute" if self._markets.index(market) % 2 else "proposal"
        api, voter = self._rng.choice(self._apis), self._voter(market)
        token, _ = api.sessions.open(str(voter))
        body = {"market_id": market.id, "vote": self._rng.random() < 0.6}
        answer = await Caller(api.client, None, token).post(f"/api/votes/{kind}", body)
        self._found.votes += answer.status == 201

    async def _vote_on_the_chain(self) -> None:
        market = self._rng.choice(self._markets)
        story, voter, vote = market.story, self._voter(market), self._rng.random() < 0.6
        kind = (
            events.DisputeVoteSubmitted if self._markets.index(market) % 2 else events.ProposalVoteSubmitted
        )
        story.tell(kind(story.market_id, voter, vote, story.now))
        await self._tell(market)
        self._found.votes += 1

    def _voter(self, market: _Market) -> Pubkey:
        if self._rng.random() < 0.5:
            return self._rng.choice(market.story.traders)
        return Keypair.from_seed(self._rng.randbytes(32)).pubkey()

    async def _tell(self, market: _Market) -> None:
        """Index what has happened; the inbox of a real daemon repeats what fails."""
        new = market.story.transactions[market.told :]
        market.told = len(market.story.transactions)
        await self._until_done(lambda: self._rng.choice(self._apis).indexer.apply(new))

    async def _fork(self) -> None:
        """The chain takes the last transactions of a market back, with a resolution or a dispute, perhaps."""
        market = self._rng.choice(self._markets)
        lost = market.story.transactions[max(1, market.told - self._rng.randint(1, 4)) : market.told]
        market.lost += lost
        self._found.forks += 1
        places = [TransactionInSlot(one.slot, one.signature) for one in lost]
        await self._until_done(lambda: self._rng.choice(self._apis).indexer.roll_back(places))

    async def _return(self) -> None:
        """What a fork took is on the chain after all."""
        market = self._rng.choice(self._markets)
        back, market.lost = market.lost, []
        await self._until_done(lambda: self._rng.choice(self._apis).indexer.apply(back))

    async def _look(self) -> None:
        await self._shown(self._rng.choice(self._apis), self._rng.choice(self._markets), "proposal")

    async def _forget(self) -> None:
        client = Redis.from_url(self._valkey.url)
        await client.flushall()
        await client.aclose()

    async def _kill(self) -> None:
        os.kill(self._valkey.pid, signal.SIGKILL)
        await self._valkey.stop()
        await self._valkey.start()

    async def _scribble(self) -> None:
        """Somebody copies one market's entry over another's, and writes what is none."""
        client = Redis.from_url(self._valkey.url)
        one, other = self._rng.sample(self._markets, k=2)
        entry = await client.get(f"votes:{one.id}")
        await client.set(f"votes:{other.id}", self._rng.choice((b"garbage", b"{}", b"\xff", entry or b"")))
        await client.aclose()

    async def _break_connections(self) -> None:
        await execute(self._database_url, _BREAK_CONNECTIONS)

    async def _until_done(self, action: Callable[[], Awaitable[object]]) -> None:
        """Repeat what can be repeated until the database has taken it."""
        while True:
            try:
                await action()
            except Exception:
                await asyncio.sleep(0.01)
            else:
                return

    async def _shown(self, api: Api, market: _Market, kind: str) -> tuple[int, int, int] | None:
        answer = await api.anybody.get(f"/api/markets/{market.id}/votes", vote_type=kind)
        if answer.status != 200:
            return None
        stats = answer.body["stats"]
        return stats["in_favour"], stats["against"], answer.body["not_counted"]

    async def _compare(self) -> None:
        for market in self._markets:
            for kind, query in _TRUTH.items():
                truth = await self._truth(market, query)
                for number, api in enumerate(self._apis):
                    shown = await self._eventually_shown(api, market, kind)
                    self._found.compared += 1
                    if shown != truth:
                        self._found.problems.append(
                            f"burst {self._found.bursts}, daemon {number}, {kind} of {market.id[:8]}: "
                            f"{shown}, not {truth}"
                        )
                overview = (await self._apis[0].anybody.get(f"/api/votes/{market.id}")).body
                sums = overview.get(f"{kind}_votes", {})
                if (sums.get("in_favour"), sums.get("against")) != truth[:2]:
                    self._found.problems.append(f"burst {self._found.bursts}, overview: {sums}, not {truth}")

    async def _truth(self, market: _Market, query: str) -> tuple[int, int, int]:
        row: Any = None

        async def read() -> None:
            nonlocal row
            async with self._apis[0].database.service() as connection:
                row = await connection.fetchrow(query, market.id)

        await self._until_done(read)
        return row["yes"], row["no"], row["others"]

    async def _eventually_shown(self, api: Api, market: _Market, kind: str) -> tuple[int, int, int]:
        """What a daemon shows once it answers: a broken connection is a 503, and never a wrong count."""
        while True:
            shown = await self._shown(api, market, kind)
            if shown is not None:
                return shown
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _servers(directory: Path) -> AsyncIterator[tuple[str, EmbeddedValkey]]:
    async with (
        EmbeddedPostgres(directory / "postgres", Durability.EPHEMERAL) as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
    ):
        await migrate(postgres.dsn)
        yield postgres.dsn, valkey


async def run(directory: Path, seed: int, *, bursts: int | None = None, minutes: float = 0.0) -> Found:
    """Break things for so many bursts, or so long. The same seed breaks the same things."""
    found, until = Found(), monotonic() + 60 * minutes
    async with AsyncExitStack() as stack:
        database_url, valkey = await stack.enter_async_context(_servers(directory))
        apis = []
        for _ in range(2):
            database = await Database.connect(patient_database(database_url))
            stack.push_async_callback(database.close)
            apis.append(await stack.enter_async_context(running_api(database, valkey.url)))
        running = _Run(random.Random(seed), apis, valkey, database_url, found)
        await running.begin()
        while found.bursts < bursts if bursts is not None else monotonic() < until:
            await running.burst()
    return found


def summary(found: Found) -> str:
    return (
        f"{found.bursts} bursts, {found.votes} votes, {found.forks} forks, {found.faults} faults; "
        f"{found.compared} counts compared, {len(found.problems)} not as Postgres has them"
    )


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--minutes", default=2.0, show_default=True)
def main(seed: int, minutes: float) -> None:
    """Break what votes are counted with, and see whether every count that is shown is right."""
    configure_log("error", "console", sys.stderr)
    with tempfile.TemporaryDirectory(prefix="zmartd-votes-") as directory:
        Path(directory).chmod(0o711)
        found = run_loop(run(Path(directory), seed, minutes=minutes))
    for problem in found.problems:
        click.echo(problem)
    click.echo(f"seed {seed}: {summary(found)}")
    sys.exit(1 if found.problems else 0)


if __name__ == "__main__":
    main()
