"""The command line: what an operator or a developer types. Each command imports only what it needs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from zmartd import __version__, config, config_file
from zmartd.errors import ZmartdError

Result = TypeVar("Result")

_SHORTEST_SIGNATURE = 64
"""Characters that 64 bytes have at least in base58."""

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


rpc_port_option = click.option(
    "--rpc-port",
    type=click.IntRange(0, 65_534),
    default=8899,
    show_default=True,
    help="The chain's RPC port; 0 is any free one.",
)


def data_option(default: Path) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        show_default=True,
        help="Where the data is kept between runs.",
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

    settings = config_file.load(config_path)
    log.configure(settings.log.level, settings.log.format)
    exposed = config_file.exposed_secrets(config_path)
    if exposed:
        log.get_logger(__name__).warning("config.exposed", problem=exposed)
    run(lambda: daemon.serve(settings))


@main.command()
@data_option(DATA_DIRECTORY)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=4000, show_default=True, help="The API's port."
)
@rpc_port_option
@click.option("--reset", is_flag=True, help="Forget the data of earlier runs first.")
@click.option("--demo", "with_demo", is_flag=True, help="Let wallets trade for as long as it runs.")
def dev(data_dir: Path, port: int, rpc_port: int, reset: bool, with_demo: bool) -> None:
    """Run everything on this machine: Postgres, Valkey, a Solana chain and the daemon."""
    from zmartd import log
    from zmartd.commands import dev_stack as development

    log.configure("warning", "console")
    plan = development.Plan(data_dir.resolve(), port, rpc_port)
    if reset:
        development.reset(plan.directory)
    run(lambda: development.run(plan, with_demo=with_demo))


@main.command()
@json_option
def demo(as_json: bool) -> None:
    """Play four markets from proposal to payout on a fresh system, and compare the result with the chain."""
    from zmartd import log
    from zmartd.clock import SystemClock
    from zmartd.commands import demo as table
    from zmartd.commands import dev_stack as development
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
    from zmartd.commands import tick as report

    settings = config_file.load(config_path)
    log.configure(settings.log.level, "console")
    reports = run(lambda: daemon.tick(settings, tasks))
    click.echo(report.as_json(reports) if as_json else report.as_table(reports))
    sys.exit(0 if all(one.ok for one in reports) else 1)


@main.command()
@click.argument("market", metavar="MARKET")
@click.option("--keep", is_flag=True, help="The proposed outcome is final.")
@click.option("--overturn", is_flag=True, help="The opposite outcome is final.")
@click.option("--refund", is_flag=True, help="No outcome: holders get back what they paid.")
@click.option("--because", metavar="TEXT", required=True, help="The reason; everybody can read it.")
@click.option("--yes", is_flag=True, help="Decide without asking for a confirmation; --json needs it.")
@config_option
@json_option
def decide(
    market: str, because: str, yes: bool, config_path: Path | None, as_json: bool, **decisions: bool
) -> None:
    """Decide what becomes of MARKET, an id or address. Give one of --keep, --overturn and --refund.

    There is something to decide where the votes do not settle a dispute, before they settle it, and where a
    stranger proposed the outcome. The command shows the question and its votes, and asks for a confirmation.
    A decision stays, and is public with its reason. The vote aggregator of a running daemon carries it out;
    `zmartd tick vote_aggregator` does so at once.
    """
    from zmartd import daemon, operation_tables
    from zmartd.market.decisions import Decision

    given = [decision for decision in Decision if decisions[decision]]
    if not given:
        raise click.UsageError("say what is decided: --keep, --overturn or --refund")
    if len(given) > 1:
        flags = " and ".join(f"--{decision}" for decision in given)
        raise click.UsageError(f"{flags} exclude each other: give one")
    [decision] = given
    if not 10 <= len(because.strip()) <= 2_000:
        raise click.UsageError("--because has to be a text of 10 to 2000 characters")
    if as_json and not yes:
        raise click.UsageError("--json asks for no confirmation: give --yes, too")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to confirm the decision on: give --yes")
    settings = _operator_settings(config_path)
    question = run(lambda: daemon.open_question(settings, market, decision))
    if not as_json:
        click.echo(operation_tables.of_question(question, decision))
    if not yes:
        click.confirm("A decision cannot be changed. Decide so?", abort=True)
    made = run(lambda: daemon.decide(settings, question, decision, because.strip()))
    _print(as_json, made, operation_tables.of_decision(made))


@main.command()
@config_option
def migrate(config_path: Path | None) -> None:
    """Bring the database's tables up to date."""
    from zmartd.store.postgres import migrations

    settings = config_file.load(config_path)
    applied = run(lambda: migrations.migrate(settings.database.url.reveal()))
    for migration in applied:
        click.echo(f"applied {migration.name}")
    if not applied:
        click.echo("the database is up to date")


@main.command()
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Look at everything the daemon depends on: each is ok, or a sentence says what to do.

    The exit status is 1 when something keeps the daemon from its work; a warning does not.
    """
    from zmartd import log
    from zmartd.commands import dependency_checks as checks

    log.configure("error", "console")
    findings = run(lambda: checks.run(config_path))
    if as_json:
        rows = [
            {"check": one.name, "ok": one.ok, "verdict": one.verdict, "detail": one.detail}
            for one in findings
        ]
        click.echo(json.dumps(rows))
    else:
        marks = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL"}
        for one in findings:
            click.echo(f"{marks[one.verdict]}  {one.name:<14} {one.detail}")
    sys.exit(0 if all(one.ok for one in findings) else 1)


@main.command()
@click.option("--repair", is_flag=True, help="Make everything that differs equal to the chain again.")
@click.option(
    "--all", "everything", is_flag=True, help="With --repair: also what no account shows a difference of."
)
@click.option(
    "--replay", is_flag=True, help="Replay the whole chain into another database, and compare both."
)
@config_option
@json_option
def audit(repair: bool, everything: bool, replay: bool, config_path: Path | None, as_json: bool) -> None:
    """Compare the index with the chain's accounts: every market, position, vote count and fee.

    The exit status is 0 when everything is the same, else 1. A repair copies nothing from accounts: it
    fetches the transactions that are missing, or all of a market where rows were altered, and builds the
    market again from what they say.
    """
    from zmartd import operation_tables, operations

    if repair and replay:
        raise click.UsageError("--repair and --replay are two different things: give one of them")
    if everything and not repair:
        raise click.UsageError("--all says how much to repair: give --repair, too")
    settings = _operator_settings(config_path)
    if replay:
        with _progress(as_json, "transactions") as progress:
            replayed = run(lambda: operations.replay(settings, progress))
        _print(as_json, replayed, operation_tables.of_replay(replayed))
        sys.exit(0 if replayed.ok else 1)
    if repair:
        repairing = operations.repair_everything if everything else operations.repair
        with _progress(as_json, "markets") as progress:
            repaired = run(lambda: repairing(settings, progress))
        _print(as_json, repaired, operation_tables.of_repair(repaired))
        sys.exit(0 if repaired.ok else 1)
    report = run(lambda: operations.audit(settings))
    _print(as_json, report, operation_tables.of_audit(report))
    sys.exit(0 if report.ok else 1)


@main.command()
@click.option("--from-slot", type=click.IntRange(0), default=0, help="The first slot to look at.")
@click.option("--until", metavar="SIGNATURE|SLOT", help="The last transaction or slot to look at.")
@click.option(
    "--quarantine", is_flag=True, help="Instead: apply quarantined lines that the IDL now explains."
)
@config_option
@json_option
def backfill(
    from_slot: int, until: str | None, quarantine: bool, config_path: Path | None, as_json: bool
) -> None:
    """Apply what the index lacks of the program's history, from its beginning; safe to stop and repeat.

    The exit status is 1 when the RPC node does not give a transaction that its history names, or when lines
    stay in quarantine.
    """
    from zmartd import operation_tables, operations
    from zmartd.indexer.stretch import Stretch

    if quarantine and (from_slot or until):
        raise click.UsageError("--quarantine looks at every line there is: give no part of the history")
    settings = _operator_settings(config_path)
    if quarantine:
        readmitted = run(lambda: operations.readmit_quarantined(settings))
        _print(as_json, readmitted, operation_tables.of_readmission(readmitted))
        sys.exit(1 if readmitted.remaining else 0)
    stretch = Stretch(from_slot, _slot_or_signature(until))
    with _progress(as_json, "transactions") as progress:
        done = run(lambda: operations.fill(settings, stretch, progress))
    _print(as_json, done, operation_tables.of_backfill(done))
    sys.exit(0 if done.ok else 1)


@main.group()
def inbox() -> None:
    """Webhook deliveries that were given up or not believed: list them, or put them back in the queue."""


@inbox.command("list")
@config_option
@json_option
def inbox_list(config_path: Path | None, as_json: bool) -> None:
    """Print the parked deliveries, each with the error that parked it."""
    from zmartd import operation_tables, operations

    settings = _operator_settings(config_path)
    deliveries = run(lambda: operations.parked(settings))
    _print(as_json, deliveries, operation_tables.of_parked(deliveries))


@inbox.command("unverified")
@config_option
@json_option
def inbox_unverified(config_path: Path | None, as_json: bool) -> None:
    """Print the delivered transactions that were not believed, each with the reason.

    The reconciler asks the RPC node for them, applies what it says, and gives up those that it does not know.
    """
    from zmartd import operation_tables, operations

    settings = _operator_settings(config_path)
    transactions = run(lambda: operations.unverified_transactions(settings))
    _print(as_json, transactions, operation_tables.of_unverified(transactions))


@inbox.command("replay")
@click.argument("deliveries", metavar="[ID]...", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="Every parked delivery.")
@config_option
@json_option
def inbox_replay(deliveries: tuple[int, ...], every: bool, config_path: Path | None, as_json: bool) -> None:
    """Put parked deliveries back in the queue; a running daemon works them off.

    The exit status is 1 when one of the IDs is not parked.
    """
    from zmartd import operations

    if every == bool(deliveries):
        raise click.UsageError("give the IDs of deliveries, or --all")
    settings = _operator_settings(config_path)
    queued = run(lambda: operations.requeue(settings, None if every else deliveries))
    lost = sorted(set(deliveries) - set(queued))
    text = [f"queued again: {one}" for one in queued] + [f"not parked: {one}" for one in lost]
    _print(as_json, {"queued": queued, "not_parked": lost}, "\n".join(text) or "nothing is parked")
    sys.exit(1 if lost else 0)


@main.command()
@data_option(DATA_DIRECTORY / "chain")
@rpc_port_option
@click.option(
    "--slot-ms", type=click.IntRange(10, 10_000), default=400, show_default=True, help="A slot's length."
)
def localnet(data_dir: Path, rpc_port: int, slot_ms: int) -> None:
    """Run a Solana chain with the zmart_core program behind the usual JSON-RPC and WebSocket.

    Prints one line of JSON with its URLs when it is ready.
    """
    from zmartd import log
    from zmartd.commands import dev_stack as development
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


def _operator_settings(config_path: Path | None) -> config.Settings:
    """Settings of a command that prints its result: the log shows only what goes wrong."""
    from zmartd import log

    settings = config_file.load(config_path)
    log.configure("error", "console")
    return settings


def _slot_or_signature(until: str | None) -> int | str | None:
    """Digits alone are a slot, unless they are as many as only a signature has."""
    is_slot = until is not None and until.isascii() and until.isdigit() and len(until) < _SHORTEST_SIGNATURE
    return int(until) if until is not None and is_slot else until


def _print(as_json: bool, result: object, text: str) -> None:
    import msgspec

    click.echo(msgspec.json.encode(result).decode() if as_json else text)


@contextmanager
def _progress(quiet: bool, label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the error output that is told how many of how many are done; none where nobody watches it."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, label=label, show_pos=True, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show
