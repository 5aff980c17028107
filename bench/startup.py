"""Measures how long `zmartd dev` takes until it is ready: cold in a new directory, then warm in the same one.

    python -m bench.startup [--runs N]

It prints a table of both with their phases, and one line of JSON. It starts real processes on this machine
and stops them. It asserts nothing.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
import msgspec

from zmartd.commands.output import table

START_SECONDS = 120
STOP_SECONDS = 30
LAUNCH = "launching Python …"


@dataclass(frozen=True)
class Start:
    """The seconds from the command to its ready line, and those of each phase, in order."""

    seconds: float
    phases: dict[str, float]


@click.command()
@click.option("--runs", type=click.IntRange(1, 50), default=3, show_default=True)
def main(runs: int) -> None:
    """Measure cold and warm starts of `zmartd dev`."""
    cold: list[Start] = []
    warm: list[Start] = []
    for run in range(1, runs + 1):
        with tempfile.TemporaryDirectory(prefix="zmartd-startup-") as directory:
            data = Path(directory) / "data"
            cold.append(measured_start(data))
            warm.append(measured_start(data))
        click.echo(
            f"run {run} of {runs}: cold {cold[-1].seconds:.2f} s, warm {warm[-1].seconds:.2f} s", err=True
        )
    header = (f"seconds, {runs} runs", "best", "median", "worst")
    click.echo(table([*rows("cold", cold), *rows("warm", warm)], header=header, right={1, 2, 3}))
    click.echo(msgspec.json.encode({"cold": totals(cold), "warm": totals(warm)}).decode())


def measured_start(data: Path) -> Start:
    """Start `zmartd dev` on `data`, wait for its ready line, and stop it."""
    command = [
        sys.executable,
        "-m",
        "zmartd",
        "dev",
        "--data-dir",
        str(data),
        "--port",
        "0",
        "--rpc-port",
        "0",
    ]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[tuple[float, str]] = []
    listener = threading.Thread(target=listen, args=(process.stderr, said), daemon=True)
    listener.start()
    impatience = threading.Timer(START_SECONDS, process.kill)
    impatience.start()
    try:
        ready = process.stdout.readline()
        ended = time.monotonic()
    finally:
        impatience.cancel()
        stop(process)
        listener.join(STOP_SECONDS)
    if not ready:
        lines = "\n".join(line for _, line in said)
        raise click.ClickException(f"zmartd dev was not ready within {START_SECONDS} s:\n{lines}")
    return Start(round(ended - began, 3), phases([(began, LAUNCH), *said], ended))


def listen(stream: IO[str], said: list[tuple[float, str]]) -> None:
    """Record the time of each line."""
    said.extend((time.monotonic(), line.strip()) for line in stream)


def phases(said: Sequence[tuple[float, str]], ended: float) -> dict[str, float]:
    """The seconds of each phase that began before `ended`; a line that begins a phase ends with "…"."""
    begun = [(at, line.removesuffix(" …")) for at, line in said if line.endswith("…") and at < ended]
    ends = [at for at, _ in begun[1:]] + [ended]
    return {name: round(end - at, 3) for (at, name), end in zip(begun, ends, strict=True)}


def stop(process: subprocess.Popen[str]) -> None:
    """Stop it with SIGTERM, or kill it when that takes too long; its children end with it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def rows(kind: str, starts: Sequence[Start]) -> list[tuple[str, ...]]:
    """A row for the whole start, and one for each phase."""
    phases = {name: [start.phases.get(name, 0.0) for start in starts] for name in starts[0].phases}
    measured = {f"{kind} start": [start.seconds for start in starts]}
    measured |= {f"  {name}": seconds for name, seconds in phases.items()}
    return [
        (name, f"{min(seconds):.2f}", f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")
        for name, seconds in measured.items()
    ]


def totals(starts: Sequence[Start]) -> dict[str, object]:
    return {
        "seconds": [start.seconds for start in starts],
        "phases": [start.phases for start in starts],
    }


if __name__ == "__main__":
    main()
