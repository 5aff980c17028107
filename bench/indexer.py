"""Measures how fast the indexer is, compared with the floor of the same work in the same run.

    python -m bench.indexer [--seconds S] [--trades N] [--missed N] [--json]

It starts Postgres (every commit on disk), Valkey, a synthetic Solana node and a daemon, and delivers webhooks
from a second process. It prints a table and one line of JSON, and asserts nothing.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from bench.figures import Figure, print_figures
from bench.floors import WrittenRows, bare_server, truncate_index
from bench.run_samples import memory, rates, sampling
from bench.servers import AUTHORIZATION, HistorySize, listening, second_process, servers
from bench.synthetic_history import IDL, SyntheticHistory, delivery
from bench.webhook_load import DeliveryPlan, DeliveryResult
from zmartd import daemon, log
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.clock import SystemClock
from zmartd.core import Core, open_core
from zmartd.indexer.deliveries import transactions_of
from zmartd.indexer.reconcile.reconciler import IndexReconciler
from zmartd.store import inbox

SEED = 20
MARKETS = 200
WALLETS = 2_000
BATCH = 100
BACKFILL_BATCH = 1_000
CONCURRENCY = 16
SINGLE_CONCURRENCY = 256
SOAK_PER_SECOND = 50
SOAK_SIZE = 10
PARSED = 20_000
MOST_MISSED = 1_000_000
"""The node's process holds them: 4 kB each."""

_PARSE = partial(parse_transaction, program_id=IDL.program_id, codec=Codec(IDL))


class IndexerBench:
    """The measurements, with one daemon; each truncates the index first."""

    def __init__(self, dsn: str, core: Core, seconds: float) -> None:
        self._dsn = dsn
        self._core = core
        self._seconds = seconds
        self._floor_events_per_second = 0.0

    async def parser(self) -> list[Figure]:
        """Parsing of decoded JSON, as from the RPC, and of the bytes of deliveries, as in the inbox.

        JSON is decoded right before it is parsed, so that it is still in the CPU's caches.
        """
        history = SyntheticHistory(SEED, MARKETS, WALLETS)
        history.openings()
        trades = history.trades(PARSED)
        bodies = [delivery(list(islice(trades, BATCH))) for _ in range(PARSED // BATCH)]
        from_json = from_bytes = 0.0
        for body in bodies:
            decoded = msgspec.json.decode(body)
            from_json += _seconds(_PARSE, decoded)
            begun = time.perf_counter()
            encoded = transactions_of(body)
            from_bytes += time.perf_counter() - begun + _seconds(_PARSE, encoded)
        return [
            Figure(
                "parser", PARSED / from_json, "transactions/s", goal=100_000,
                note="decoded JSON to typed events",
            ),
            Figure(
                "parser, from bytes", PARSED / from_bytes, "transactions/s",
                note="a delivery's JSON to typed events",
            ),
        ]  # fmt: skip

    async def apply(self, trades: int) -> list[Figure]:
        """`Indexer.apply`, and the same rows written by plain SQL."""
        small = await self._applied(trades, BATCH)
        rows = await WrittenRows.read(self._dsn, trades)
        large = await self._applied(trades, BACKFILL_BATCH)
        everything = await rows.unnest_everything(BATCH)
        self._floor_events_per_second = await rows.unnest_events(BATCH)
        copied = await rows.copy_everything()
        return [
            Figure(
                f"apply, batches of {BATCH}", small, "events/s", everything, 0.6, "floor: all rows it writes"
            ),
            Figure(
                "  beside its event rows only", small, "events/s", self._floor_events_per_second,
                note="floor: UNNEST of one row per event",
            ),
            Figure(
                f"apply, batches of {BACKFILL_BATCH}", large, "events/s", copied,
                note="as a backfill does; floor: COPY of events and trades",
            ),
        ]  # fmt: skip

    async def webhooks(self, port: int) -> list[Figure]:
        """Deliveries over HTTP with a hundred transactions and with one."""
        seconds = self._seconds
        hundred = self._plan(port, BATCH, int(240 * seconds))
        one = msgspec.structs.replace(
            self._plan(port, 1, int(20_000 * seconds)), concurrency=SINGLE_CONCURRENCY
        )
        await self._begin()
        accepted, drained = await self._delivered(hundred)
        before = await _bare(one)
        await self._begin()
        single, single_drained = await self._delivered(one)
        after = await _bare(one)
        bare = (_rate(before) + _rate(after)) / 2
        return [
            Figure(
                "webhook, 100 transactions", _rate(accepted) * BATCH, "events/s",
                self._floor_events_per_second, 0.4, "POST to 200, committed; floor: UNNEST of the event rows",
            ),
            Figure("  p50", accepted.p50_milliseconds, "ms"),
            Figure("  p99", accepted.p99_milliseconds, "ms"),
            Figure(
                "  until all is applied", drained, "events/s", self._floor_events_per_second,
                note="from the first POST to the last event in the index",
            ),
            Figure(
                "webhook, 1 transaction", _rate(single), "deliveries/s", bare, 0.35,
                "floor: a bare aiohttp handler, before and after",
            ),
            Figure("  p50", single.p50_milliseconds, "ms", note=f"bare {after.p50_milliseconds:.2f} ms"),
            Figure("  p99", single.p99_milliseconds, "ms", note=f"bare {after.p99_milliseconds:.2f} ms"),
            Figure("  until all is applied", single_drained, "events/s"),
        ]  # fmt: skip

    async def reconcile(self) -> list[Figure]:
        """A run of the reconciler over a history that no webhook delivered."""
        await truncate_index(self._dsn)
        reconciler = IndexReconciler(self._core.rpc, self._core.fetcher, self._core.database, IDL.program_id)
        gc.collect()
        started = time.monotonic()
        async with sampling() as samples:
            found = await reconciler.run()
        elapsed = time.monotonic() - started
        note = f"{found.missing} missed in {elapsed:.1f} s; the index has {await self._indexed()} then"
        return [
            Figure("reconcile", found.missing / elapsed, "transactions/s", note=note),
            *rates(samples),
            *memory(samples, "while it reconciles, means of thirds"),
        ]

    async def soak(self, port: int, seconds: float) -> list[Figure]:
        """The daemon's memory under a constant load."""
        plan = msgspec.structs.replace(
            self._plan(port, SOAK_SIZE, int(SOAK_PER_SECOND * seconds)),
            per_second=SOAK_PER_SECOND,
            seconds=seconds,
        )
        await self._begin()
        gc.collect()
        async with sampling() as samples:
            delivered = await load(plan)
            await self._drained()
        events = delivered.deliveries * SOAK_SIZE
        return memory(samples, f"{events} events in {delivered.seconds:.0f} s, means of thirds")

    async def _indexed(self) -> int:
        """The events in the index; every transaction of the history has one."""
        async with self._core.database.service() as connection:
            events: int = await connection.fetchval(
                "select (select count(*) from market_events) + (select count(*) from trade_events)"
            )
        return events

    async def _applied(self, trades: int, batch: int) -> float:
        history = await self._begin()
        parsed = [_PARSE(msgspec.json.decode(one)) for one in history.trades(trades)]
        started = time.monotonic()
        for start in range(0, trades, batch):
            await self._core.indexer.apply(parsed[start : start + batch])
        return trades / (time.monotonic() - started)

    async def _begin(self) -> SyntheticHistory:
        """Truncate the index, and create the markets; the history that continues from there."""
        await truncate_index(self._dsn)
        history = SyntheticHistory(SEED, MARKETS, WALLETS)
        openings: Sequence[ChainTransaction] = [
            _PARSE(msgspec.json.decode(one)) for one in history.openings()
        ]
        await self._core.indexer.apply(openings)
        return history

    async def _delivered(self, plan: DeliveryPlan) -> tuple[DeliveryResult, float]:
        """The client's result, and the events per second until the last one was applied."""
        delivered = await load(plan)
        waited = time.monotonic()
        await self._drained()
        elapsed = delivered.seconds + time.monotonic() - waited
        return delivered, delivered.deliveries * plan.size / elapsed

    async def _drained(self) -> None:
        while True:
            async with self._core.database.service() as connection:
                if not (await inbox.depth(connection)).pending:
                    return
            await asyncio.sleep(0.02)

    def _plan(self, port: int, size: int, deliveries: int) -> DeliveryPlan:
        return DeliveryPlan(
            port, AUTHORIZATION, size, deliveries, CONCURRENCY, SEED, MARKETS, WALLETS, self._seconds
        )


async def load(plan: DeliveryPlan) -> DeliveryResult:
    """Run a plan in a second process."""
    async with second_process("bench.webhook_load", msgspec.json.encode(plan).decode()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdout.readline()
        process.stdin.write(b"go\n")
        return msgspec.json.decode(await process.stdout.readline(), type=DeliveryResult)


async def _bare(plan: DeliveryPlan) -> DeliveryResult:
    """The same deliveries to a handler that does nothing."""
    async with bare_server() as port:
        return await load(msgspec.structs.replace(plan, port=port))


async def measure(directory: Path, seconds: float, trades: int, missed: int, soak: float) -> list[Figure]:
    """Run all measurements, one after the other."""
    figures: list[Figure] = []
    async with (
        servers(directory, HistorySize(SEED, MARKETS, WALLETS, missed)) as surroundings,
        open_core(surroundings.settings, SystemClock()) as core,
    ):
        bench = IndexerBench(surroundings.postgres.dsn, core, seconds)
        daemon.tune_garbage_collection()
        click.echo("  reconcile, parser, apply …", err=True)
        # First, as long as there is no memory that others have freed, and that it could take unseen.
        figures += [*await bench.reconcile(), *await bench.parser(), *await bench.apply(trades)]
        async with listening(daemon.application(core)) as port:
            click.echo("  webhooks, memory …", err=True)
            figures += [*await bench.webhooks(port), *await bench.soak(port, soak)]
    return figures


def _seconds(parse: Callable[[Any], ChainTransaction], transactions: list[Any]) -> float:
    started = time.perf_counter()
    for one in transactions:
        parse(one)
    return time.perf_counter() - started


def _rate(delivered: DeliveryResult) -> float:
    return delivered.deliveries / delivered.seconds


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 60), default=5, show_default=True, help="Of each load.")
@click.option("--trades", type=click.IntRange(1_000, 1_000_000), default=20_000, show_default=True)
@click.option("--missed", type=click.IntRange(100, MOST_MISSED), default=5_000, show_default=True)
@click.option("--soak-seconds", type=click.FloatRange(3, 3_600), default=15, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(seconds: float, trades: int, missed: int, soak_seconds: float, only_json: bool) -> None:
    """Measure the indexer: --trades go through `apply`, --missed wait for the reconciler."""
    log.configure("warning", "console")
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory:
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), seconds, trades, missed, soak_seconds))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()
