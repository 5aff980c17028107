"""The command line: what an operator or a developer types. Each command imports only what it needs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from zmartd import __version__, config
from zmartd.errors import ZmartdError

Result = TypeVar("Result")

DATA_DIRECTORY = Path(".zmartd")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The zmartd.toml to use instead of $ZMARTD_CONFIG, ./zmartd.toml or /etc/zmartd/zmartd.toml.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for machines instead of a table."
)


class Commands(click.Group):
    """Shows what zmartd raises on purpose as one clear message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ZmartdError as error:
            raise click.ClickException(error.message) from error
        except KeyboardInterrupt:
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zmartd")
def main() -> None:
    """The off-chain half of a Solana prediction market, in one process."""


@main.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the daemon: REST, WebSocket, webhook and periodic tasks on one port."""
    from zmartd import daemon, log

    settings = config.load(config_path)
    log.configure(settings.log.level, settings.log.format)
    run(lambda: daemon.serve(settings))


@main.command()
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), default=DATA_DIRECTORY)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=4000, show_default=True, help="The API's port."
)
@click.option(
    "--rpc-port",
    type=click.IntRange(0, 65_534),
    default=8899,
    show_default=True,
    help="The chain's RPC port.",
)
@click.option("--reset", is_flag=True, help="Forget the data of earlier runs first.")
@click.option("--demo", "with_demo", is_flag=True, help="Let wallets trade for as long as it runs.")
def dev(data_dir: Path, port: int, rpc_port: int, reset: bool, with_demo: bool) -> None:
    """Run everything on this machine: Postgres, Valkey, a Solana chain and the daemon."""
    from zmartd import dev as development
    from zmartd import log

    log.configure("warning", "console")
    plan = development.Plan(data_dir.resolve(), port, rpc_port)
    if reset:
        development.reset(plan.directory)
    run(lambda: development.run(plan, with_demo=with_demo))


@main.command()
@json_option
def demo(as_json: bool) -> None:
    """Play four markets from proposal to payout on a fresh system, and compare the result with the chain."""
    from zmartd import dev as development
    from zmartd import log
    from zmartd.clock import SystemClock
    from zmartd.embedded.demo import table
    from zmartd.embedded.demo.report import Report

    log.configure("error", "console")
    report = Report(SystemClock(), None if as_json else table.show)
    with tempfile.TemporaryDirectory(prefix="zmartd-demo-") as directory:
        plan = development.Plan(Path(directory), 0, 0)
        result = run(lambda: development.play(plan, report))
    click.echo(result.as_json() if as_json else table.verdict(result))
    sys.exit(0 if result.ok else 1)


@main.command()
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@config_option
@json_option
def tick(tasks: tuple[str, ...], config_path: Path | None, as_json: bool) -> None:
    """Run periodic tasks once, now, and print what they did. Without TASK: all that are enabled.

    The exit status is 0 when nothing needs an operator's eye, else 1.
    """
    from zmartd import daemon, log
    from zmartd.tasks import report

    settings = config.load(config_path)
    log.configure(settings.log.level, "console")
    reports = run(lambda: daemon.tick(settings, tasks))
    click.echo(report.as_json(reports) if as_json else report.as_table(reports))
    sys.exit(0 if all(one.ok for one in reports) else 1)


@main.command()
@config_option
def migrate(config_path: Path | None) -> None:
    """Bring the database's tables up to date."""
    from zmartd.store import migrate as migrations

    settings = config.load(config_path)
    applied = run(lambda: migrations.migrate(settings.database.url.reveal()))
    for migration in applied:
        click.echo(f"applied {migration}")
    if not applied:
        click.echo("the database is up to date")


@main.command()
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Look at everything the daemon depends on: each is ok, or a sentence says what to do."""
    from zmartd import checks, log

    log.configure("error", "console")
    findings = run(lambda: checks.run(config_path))
    if as_json:
        click.echo(json.dumps([{"check": one.name, "ok": one.ok, "detail": one.detail} for one in findings]))
    else:
        for one in findings:
            click.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.name:<14} {one.detail}")
    sys.exit(0 if all(one.ok for one in findings) else 1)


@main.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), default=DATA_DIRECTORY / "chain"
)
@click.option("--rpc-port", type=click.IntRange(0, 65_534), default=8899, show_default=True)
@click.option(
    "--slot-ms", type=click.IntRange(10, 10_000), default=400, show_default=True, help="A slot's length."
)
def localnet(data_dir: Path, rpc_port: int, slot_ms: int) -> None:
    """Run a Solana chain with the zmart_core program behind the usual JSON-RPC and WebSocket.

    Prints one line of JSON with its URLs when it is ready.
    """
    from zmartd import dev as development
    from zmartd import log
    from zmartd.embedded.localnet.server import serve as serve_localnet
    from zmartd.embedded.localnet.settings import Endpoints

    log.configure("info", "console")
    settings = development.chain_settings(data_dir.resolve(), rpc_port, slot_milliseconds=slot_ms)

    def announce(endpoints: Endpoints) -> None:
        click.echo(json.dumps({"event": "ready", "rpc": endpoints.rpc_url, "ws": endpoints.ws_url}))
        sys.stdout.flush()

    run(lambda: development.until_stopped(lambda stop: serve_localnet(settings, ready=announce, stop=stop)))


def run(main_coroutine: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine on uvloop."""
    import uvloop

    return uvloop.run(main_coroutine())
