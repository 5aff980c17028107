"""What it costs to apply trades that every change is a numbered message of a stream."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from asyncpg import Connection

from bench.figures import Figure
from bench.synthetic_history import IDL, SyntheticHistory
from zmartd.chain.codec import Codec
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.core import Core
from zmartd.indexer.apply import Indexer
from zmartd.realtime.publisher import M, StreamPublisher
from zmartd.store.streams import StreamPosition

ROUNDS = 21
SINGLE_TRADES = 60
BATCH = 100
_NOWHERE = StreamPosition("0" * 16, 1)


class Unnumbered(StreamPublisher):
    """Publishes what changed without appending it to streams."""

    async def append(self, connection: Connection, messages: Sequence[M]) -> list[M]:
        return [msgspec.structs.replace(one, position=_NOWHERE) for one in messages]


async def stream_positions(core: Core, history: SyntheticHistory) -> list[Figure]:
    """`Indexer.apply` with streams and without, by turns; the median of what each turn took."""
    trades = _parsed(history)
    with_streams = core.indexer
    without = Indexer(core.database, Unnumbered(core.bus), Pdas(IDL.program_id))
    figures = []
    for name, calls, size in (("one trade", SINGLE_TRADES, 1), (f"{BATCH} trades at once", 1, BATCH)):
        ratios: list[float] = []
        spent: list[float] = []
        for turn in range(ROUNDS):
            seconds: dict[Indexer, float] = {}
            for indexer in (with_streams, without) if turn % 2 else (without, with_streams):
                batches = [list(islice(trades, size)) for _ in range(calls)]
                seconds[indexer] = await _seconds(indexer, batches)
            spent.append(seconds[with_streams] / calls)
            ratios.append(seconds[with_streams] / seconds[without])
        figures.append(
            Figure(
                f"apply of {name}: with streams, of the time without", statistics.median(ratios), "",
                note=f"goal: ≤ 1.10; {statistics.median(spent) * 1e3:.1f} ms with; "
                f"{ROUNDS} pairs, middle half {_middle_half(ratios)}",
            )
        )  # fmt: skip
    return figures


def _parsed(history: SyntheticHistory) -> Iterator[ChainTransaction]:
    for one in history.trades(10**6):
        yield parse_transaction(msgspec.json.decode(one), IDL.program_id, Codec(IDL))


async def _seconds(indexer: Indexer, batches: Sequence[Sequence[ChainTransaction]]) -> float:
    began = time.perf_counter()
    for batch in batches:
        await indexer.apply(batch)
    return time.perf_counter() - began


def _middle_half(values: Sequence[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.2f}-{high:.2f}"
