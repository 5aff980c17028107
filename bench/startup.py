"""How long `zmartd dev` takes to its ready line: cold in a new directory, warm in the same one.

    python -m bench.startup [--runs N]

Prints a table and one line of JSON. It starts real processes on this machine and stops each of them.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

STOP_SECONDS = 30


@click.command()
@click.option("--runs", type=click.IntRange(1, 50), default=3, show_default=True)
def main(runs: int) -> None:
    """Measure cold and warm starts of `zmartd dev`."""
    cold, warm = [], []
    for run in range(1, runs + 1):
        with tempfile.TemporaryDirectory(prefix="zmartd-startup-") as directory:
            data = Path(directory) / "data"
            cold.append(seconds_to_ready(data))
            warm.append(seconds_to_ready(data))
        click.echo(f"run {run} of {runs}: cold {cold[-1]:.2f} s, warm {warm[-1]:.2f} s", err=True)
    click.echo(f"{'start':<6} {'best':>7} {'median':>7} {'worst':>7}   (seconds, {runs} runs)")
    for name, times in (("cold", cold), ("warm", warm)):
        click.echo(f"{name:<6} {min(times):>7.2f} {statistics.median(times):>7.2f} {max(times):>7.2f}")
    click.echo(json.dumps({"cold_seconds": cold, "warm_seconds": warm}))


def seconds_to_ready(data: Path) -> float:
    """Start `zmartd dev` on `data`, wait for its ready line, and stop it again."""
    ports = ["--port", "0", "--rpc-port", "0"]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "zmartd", "dev", "--data-dir", str(data), *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    elapsed = time.monotonic() - started
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=STOP_SECONDS)
    if not line:
        raise click.ClickException(f"zmartd dev did not start: {errors}")
    return elapsed


if __name__ == "__main__":
    main()
