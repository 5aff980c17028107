"""Measures the latency of other clients while one client floods the daemon over a WebSocket.

    python -m bench.flood [--seconds S] [--megabytes-per-second M] [--json]

It starts Postgres, Valkey, a synthetic Solana node and a daemon. A second process floods and sends ordinary
requests, for S seconds per kind of flood. It prints a table and one line of JSON, and asserts nothing.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import click
import msgspec
import uvloop

from bench.figures import Figure, print_figures
from bench.flood_load import KINDS, Flood, FloodResult
from bench.servers import HistorySize, second_process, servers
from zmartd import daemon, log

SEED, MARKETS, WALLETS = 20, 20, 20


async def measure(directory: Path, seconds: float, bytes_per_second: float) -> list[Figure]:
    """The latency of others for each kind of flood."""
    async with servers(directory, HistorySize(SEED, MARKETS, WALLETS)) as surroundings:
        settings, port = surroundings.settings, _free_port()
        server = msgspec.structs.replace(settings.server, port=port)
        async with daemon.running(msgspec.structs.replace(settings, server=server)):
            figures = []
            for kind in KINDS:
                click.echo(f"  {kind} …", err=True)
                figures += _figures(kind, await _flooded(Flood(port, kind, seconds, bytes_per_second)))
            return figures


async def _flooded(flood: Flood) -> FloodResult:
    async with second_process("bench.flood_load", msgspec.json.encode(flood).decode()) as process:
        assert process.stdout is not None
        return msgspec.json.decode(await process.stdout.readline(), type=FloodResult)


def _figures(kind: str, flooded: FloodResult) -> list[Figure]:
    end = flooded.closed_after_seconds
    cut_off = "not cut off" if end is None else f"cut off after {end:.2f} s"
    return [
        Figure(f"others, {kind}: p50", flooded.p50_milliseconds, "ms"),
        Figure(
            "  p99", flooded.p99_milliseconds, "ms", note=f"{flooded.sent_bytes / 1e6:.2f} MB sent, {cut_off}"
        ),
    ]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@click.command()
@click.option("--seconds", type=click.FloatRange(0.5, 60), default=8, show_default=True, help="Of each kind.")
@click.option("--megabytes-per-second", type=click.FloatRange(0.01, 1_000), default=1, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(seconds: float, megabytes_per_second: float, only_json: bool) -> None:
    """Measure the latency of other clients during a flood over one connection."""
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory, open(os.devnull, "w") as nowhere:
        log.configure("info", "json", nowhere)
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), seconds, megabytes_per_second * 1e6))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()
