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

from tests.stress.faults import Fault, catalogue
from tests.stress.matrix import LEGEND, Row, head, strike
from tests.stress.rig import Rig, standing
from zmartd.log import configure as configure_log


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
    rng = random.Random(seed)
    chosen = [fault for fault in catalogue() if only in fault.name]
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zmartd-stress-")))
        rows = asyncio.run(_run(directory.resolve(), rng, chosen, None if matrix else minutes * 60))
    failed = [row for row in rows if not row.ok]
    for row in failed:
        click.echo(f"failed: {row.fault}, {row.moment}")
    events = max((row.verdict.events for row in rows if row.verdict is not None), default=0)
    said = "everything held" if not failed else f"{len(failed)} did not hold"
    click.echo(f"seed {seed}: {len(rows)} times broken and mended, {events} events on the chain, {said}")
    sys.exit(bool(failed))


async def _run(
    directory: Path, rng: random.Random, chosen: Sequence[Fault], seconds: float | None
) -> list[Row]:
    rows = []
    click.echo(f"{LEGEND}\n\n{head()}")
    async with standing(directory, rng) as rig:
        choices = _in_turn(chosen) if seconds is None else _at_random(rng, chosen, seconds)
        reconciling = True
        for faults in choices:
            wanted = all(fault.reconciling for fault in faults)
            if wanted is not reconciling:
                await rig.restart(reconciling=wanted)
                reconciling = wanted
            row = await strike(rig, faults)
            rows.append(row)
            click.echo(row.line())
            if row.verdict is None:
                await _recover(rig)
        if not reconciling:
            await rig.restart(reconciling=True)
            row = Row("all of these", "once the reconciler is back", *await rig.recovered())
            rows.append(row)
            click.echo(row.line())
    return rows


def _in_turn(chosen: Sequence[Fault]) -> Iterable[list[Fault]]:
    """Each once; those without a reconciler last, so that nothing makes up for what they leave behind."""
    return ([fault] for fault in sorted(chosen, key=lambda fault: not fault.reconciling))


def _at_random(rng: random.Random, chosen: Sequence[Fault], seconds: float) -> Iterable[list[Fault]]:
    """One or two faults of different subjects, until the time is over. The reconciler always runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        first, second = rng.sample(chosen, 2)
        together = [first, second] if first.subject != second.subject and rng.random() < 0.5 else [first]
        yield [Fault(one.what, one.moment, one.subject, one.strike, one.heal) for one in together]


async def _recover(rig: Rig) -> None:
    """Make everything whole again after a fault that could not be judged."""
    rig.rest()
    await rig.system.mend()


if __name__ == "__main__":
    main()
