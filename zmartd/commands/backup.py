"""`zmartd backup` and `zmartd restore`: the database in a file, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, progress_bar
from zmartd.commands.running import run_to_end

if TYPE_CHECKING:
    from zmartd.config import Settings
    from zmartd.store.backup.manifest import Chain, Manifest
    from zmartd.store.backup.restore import Restored

MAX_JOBS: Final = 64
_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.command()
@_file
@config_option
@json_option
def backup(file: Path, config_path: Path | None, as_json: bool) -> None:
    """Write the whole database to FILE, and what is in it to FILE.json.

    Every table is counted in one snapshot of the database and again in the file. Where a row is missing, the
    exit status is 1 and there is no file. Daemons go on meanwhile.
    """
    from zmartd.store.backup.backup import back_up

    settings = operator_settings(config_path)
    with progress_bar(as_json, "rows") as progress:
        manifest = run_to_end(
            lambda: back_up(
                settings.database,
                file,
                _chain(settings),
                others=_embedded_programs(),
                progress=progress,
            )
        )
    print_result(as_json, manifest, _backup_text(file, manifest))


@click.command()
@_file
@click.option(
    "--replace",
    is_flag=True,
    help="Delete every table that the database has in its schemas public and zmartd.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    default=os.cpu_count() or 1,
    help="How many tables and indexes are restored at the same time; by default one for each core.",
)
@config_option
@json_option
def restore(file: Path, replace: bool, jobs: int, config_path: Path | None, as_json: bool) -> None:
    """Restore the backup FILE into the database, which has to be empty, and say what to do next.

    FILE.json has to lie beside it. Stop the daemons first. Every table is counted afterwards. The streams get
    another epoch, so that every client takes a new snapshot.
    """
    from zmartd.store.backup.restore import restore

    settings = operator_settings(config_path)
    with progress_bar(as_json, "rows") as progress:
        done = run_to_end(
            lambda: restore(
                settings.database,
                file,
                _chain(settings),
                replace=replace,
                jobs=jobs,
                others=_embedded_programs(),
                progress=progress,
            )
        )
    print_result(as_json, done, _restored_text(done))


def _chain(settings: Settings) -> Chain:
    from zmartd.store.backup.manifest import Chain

    return Chain(settings.solana.cluster, settings.solana.program_id)


def _embedded_programs() -> Iterator[Path]:
    """Where the programs of the Postgres of `zmartd dev` are, if it is installed."""
    from zmartd.embedded.installation import installation
    from zmartd.embedded.server_process import EmbeddedServerError

    try:
        yield installation(for_everyone=False) / "bin"
    except EmbeddedServerError:
        return


def _backup_text(file: Path, manifest: Manifest) -> str:
    rows = sum(manifest.rows.values())
    return (
        f"{file}: {rows} rows of {len(manifest.rows)} tables, {manifest.bytes} bytes, counted and compared "
        f"with the database; schema {manifest.schema:04d}, epoch {manifest.epoch}\n"
        f"keep {file.name}.json beside it: without it the backup is not restored"
    )


def _restored_text(done: Restored) -> str:
    made = f"{done.backup.created_at:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{done.database}: {done.rows} rows of {len(done.backup.rows)} tables as of {made}, counted and "
        f"compared with the backup; the epoch of the streams is {done.epoch}",
        "next:",
    ]
    steps = [
        *(["zmartd migrate            # " + ", ".join(done.pending)] if done.pending else []),
        "zmartd tick reconciler    # what has happened on the chain since",
        "zmartd audit              # 0 differences, or: zmartd audit --repair",
        "start the daemons",
    ]
    return "\n".join((*lines, *(f"  {number}. {step}" for number, step in enumerate(steps, 1))))
