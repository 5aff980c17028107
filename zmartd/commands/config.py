"""`zmartd config`: which settings are in force, which there are, and what each means."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from zmartd.commands.options import doubtful_config_option, json_option
from zmartd.commands.output import print_result, table

if TYPE_CHECKING:
    from zmartd.config_text import Effective

_UNUSABLE: Final = "does not fit"


@click.command()
@doubtful_config_option
@json_option
@click.option(
    "--effective",
    "what",
    flag_value="effective",
    default=True,
    help="Show the value of every setting without secrets, and where it comes from. This is the default.",
)
@click.option(
    "--defaults",
    "what",
    flag_value="defaults",
    help="Print a complete zmartd.toml: every setting with its meaning and default.",
)
@click.option(
    "--doc",
    "what",
    flag_value="doc",
    help="Print a reference in Markdown: every setting with its meaning, values and default.",
)
def config(config_path: Path | None, as_json: bool, what: str) -> None:
    """Show the settings in force and where each comes from, or all that there are.

    The exit status of --effective is 1 when a setting cannot be used.
    """
    from zmartd import config_file, config_text

    if what == "defaults":
        click.echo(config_text.defaults_toml(), nl=False)
        return
    if what == "doc":
        reference = [
            {
                "name": one.name,
                "environment": one.environment_variable,
                "meaning": one.description,
                "values": config_text.values_of(one),
                "default": config_text.masked(one.default),
            }
            for one in config_file.settings_table()
        ]
        print_result(as_json, reference, config_text.reference().rstrip("\n"))
        return
    reading = config_file.read(config_path)
    rows = config_text.effective(reading)
    result = {
        "file": None if reading.file is None else str(reading.file),
        "settings": rows,
        "problems": reading.problems,
        "warnings": reading.warnings,
    }
    print_result(as_json, result, table([_row(one) for one in rows], header=("SETTING", "VALUE", "FROM")))
    for warning in reading.warnings:
        click.echo(f"Warning: {warning}", err=True)
    for problem in reading.problems:
        click.echo(f"Error: {problem}", err=True)
    sys.exit(1 if reading.problems else 0)


def _row(one: Effective) -> tuple[str, str, str]:
    value = one.value if isinstance(one.value, str) else msgspec.json.encode(one.value).decode()
    return one.name, value if one.is_usable else _UNUSABLE, one.origin
