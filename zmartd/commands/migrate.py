"""`zmartd migrate`: the tables are brought up to date, or it is shown what that would do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, printable, table
from zmartd.commands.parameters import seconds_of_duration
from zmartd.commands.running import run_to_end

if TYPE_CHECKING:
    from zmartd.store.postgres.migration_plan import PlannedMigration

_HEADER: Final = ("MIGRATION", "TABLE", "LOCK", "ROWS", "SECONDS")


@click.command()
@click.option(
    "--plan", "only_plan", is_flag=True, help="Only show which tables would be locked, how, and for how long."
)
@click.option(
    "--wait",
    "wait_seconds",
    metavar="TIME",
    default="10m",
    show_default=True,
    callback=seconds_of_duration,
    help="How long a migration tries to get its locks, like 90s, 10m or 2h.",
)
@config_option
@json_option
def migrate(only_plan: bool, wait_seconds: int, config_path: Path | None, as_json: bool) -> None:
    """Bring the database's tables up to date, and print the names of the migrations that this took.

    Daemons may go on meanwhile. A migration that cannot lock its tables at once lets the others go first, and
    tries again. It can be stopped at any time, and run again.
    """
    from zmartd.store import schema
    from zmartd.store.postgres.migration_plan import plan

    dsn = operator_settings(config_path).database.url.reveal()
    if only_plan:
        planned = run_to_end(lambda: plan(dsn))
        print_result(as_json, planned, _plan_text(planned))
        return
    tell = partial(click.secho, err=True, dim=True)
    applied = run_to_end(
        lambda: schema.bring_up_to_date(
            dsn, tell=lambda line: tell(printable(line)), wait_seconds=wait_seconds
        )
    )
    names = [migration.name for migration in applied]
    if as_json or names:
        print_result(as_json, names, "\n".join(names))
    else:
        tell("the database is up to date")


def _plan_text(planned: tuple[PlannedMigration, ...]) -> str:
    if not planned:
        return "the database is up to date"
    rows = []
    for migration in planned:
        rows += [
            (migration.name, lock.table, lock.lock, str(lock.rows), f"{lock.seconds:.1f}")
            for lock in migration.locks
        ] or [(migration.name, "-", "none", "-", "-")]
    contracts = [
        f"{migration.name} is for daemons of this version only: {migration.contract}"
        for migration in planned
        if migration.contract is not None
    ]
    return "\n".join((table(rows, header=_HEADER, right={3, 4}), *contracts))
