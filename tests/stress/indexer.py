"""Faults on purpose, over and over, against the whole system.

    python -m tests.stress.indexer --matrix               each fault at each moment, as a table
    python -m tests.stress.indexer --seed 7 --minutes 30  one or two faults at a time, at random

The last line is a summary; the exit status is 1 when anything was lost, came twice, differs from the chain
or was sent twice. Everything runs on 127.0.0.1 and ends with the program.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from msgspec import structs

from tests.stress.faults import Fault, catalogue
from tests.stress.matrix import LEGEND, Row, head, strike, watched
from tests.stress.rig import standing
from zmartd.log import configure as configure_log

DAYS_PASS = 0.2
"""How likely it is, before a fault, that markets which are resolved or disputed become due."""


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same choices.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
@click.option("--matrix", is_flag=True, help="Every fault once, instead of some at random.")
@click.option("--only", default="", help="With --matrix: the faults whose name contains this.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the servers live and log; kept. Otherwise a directory of the moment.",
)
def main(seed: int, minutes: float, matrix: bool, only: str, directory: Path | None) -> None:
    """Break things, mend them, and see whether the index equals the chain."""
    configure_log("error", "console", sys.stderr)
    chosen = [fault for fault in catalogue() if only in fault.name]
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zmartd-stress-")))
        rows = asyncio.run(_run(directory.resolve(), seed, chosen, None if matrix else minutes * 60))
    failed = [row for row in rows if not row.ok]
    for row in failed:
        click.echo(f"failed: {row.fault}, {row.moment}")
    events = max((row.verdict.events for row in rows if row.verdict is not None), default=0)
    said = "everything held" if not failed else f"{len(failed)} did not hold"
    click.echo(f"seed {seed}: {len(rows)} times broken and mended, {events} events on the chain, {said}")
    sys.exit(bool(failed))


async def _run(directory: Path, seed: int, chosen: Sequence[Fault], seconds: float | None) -> list[Row]:
    """Each fault once when no `seconds` are given; prints the table as it grows."""
    rng = random.Random(seed)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        click.echo(row.line())

    click.echo(f"{LEGEND}\n\n{head()}")
    async with standing(directory, random.Random(seed)) as rig, watched(rig, random.Random(seed)) as audience:
        for faults in _in_turn(chosen) if seconds is None else _at_random(rng, chosen, seconds):
            await rig.reconcile(on=all(fault.reconciling for fault in faults))
            if rng.random() < DAYS_PASS:
                await rig.system.let_days_pass()
            await rig.system.forget_leases()
            add(await strike(rig, faults, audience))
            if rows[-1].verdict is None:
                rig.rest()
                await rig.system.mend()
        await rig.reconcile(on=True)
        verdict, seconds = await rig.recovered()
        differing = await rig.replayed()
        add(Row("all of these", "at the end, with a reconciler, and replayed", verdict, seconds, differing))
    return rows


def _in_turn(chosen: Sequence[Fault]) -> Iterable[list[Fault]]:
    """Each once; those without a reconciler last, so that nothing makes up for what they leave behind."""
    return ([fault] for fault in sorted(chosen, key=lambda fault: not fault.reconciling))


def _at_random(rng: random.Random, chosen: Sequence[Fault], seconds: float) -> Iterable[list[Fault]]:
    """One or two faults of different subjects, until the time is over; the reconciler always runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        first, second = (structs.replace(fault, reconciling=True) for fault in rng.sample(chosen, 2))
        together = first.subject != second.subject and rng.random() < 0.5
        yield [first, second] if together else [first]


if __name__ == "__main__":
    main()
