"""The options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zmartd.commands import instance
from zmartd.commands.output import shown

if TYPE_CHECKING:
    from zmartd import config

DATA_DIRECTORY = Path(".zmartd")


def _find_configuration(context: click.Context, _: click.Parameter, named: Path | None) -> Path | None:
    """The file that the command reads."""
    return named if context.resilient_parsing else _configuration(named)[0]


def _find_and_say(context: click.Context, _: click.Parameter, named: Path | None) -> Path | None:
    """As `_find_configuration`, and say on stderr which one it is."""
    if context.resilient_parsing:
        return named
    file, source = _configuration(named)
    click.echo(click.style(f"using {source}", dim=True), err=True)
    return file


def _find_if_there(context: click.Context, option: click.Parameter, named: Path | None) -> Path | None:
    """As `_find_and_say`, but a file that is not there is the command's to report."""
    from zmartd.config_values import ConfigError

    try:
        return _find_and_say(context, option, named)
    except ConfigError:
        return named


def _configuration(named: Path | None) -> tuple[Path | None, str]:
    """The file to read and how to call it. A `zmartd dev` that runs here comes before files that lie here."""
    from zmartd import config_file

    is_chosen = named is not None or bool(os.environ.get(config_file.CONFIG_VARIABLE))
    if not is_chosen:
        running = instance.find(DATA_DIRECTORY)
        if running is not None and running.configuration is not None:
            file = Path(running.configuration)
            return file, f"{shown(file)} of the zmartd dev that runs here (process {running.pid})"
    found = config_file.find(named, os.environ)
    if found is None:
        return None, "the environment and defaults: there is no zmartd.toml, and no zmartd dev runs here"
    stopped = "; no zmartd dev runs here" if not is_chosen and DATA_DIRECTORY.is_dir() else ""
    return found, f"{shown(found)}{stopped}"


def _config_option(
    callback: Callable[[click.Context, click.Parameter, Path | None], Path | None],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=callback,
        help="The zmartd.toml to use instead of $ZMARTD_CONFIG, that of the `zmartd dev` that runs in this "
        "folder, ./zmartd.toml or /etc/zmartd/zmartd.toml.",
    )


config_option = _config_option(_find_and_say)
quiet_config_option = _config_option(_find_configuration)
"""For a command whose stderr is a log."""
doubtful_config_option = _config_option(_find_if_there)
"""For a command that reports what is wrong with the configuration beside other things."""
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


def operator_settings(config_path: Path | None) -> config.Settings:
    """The settings of a command that prints a result; it logs only errors, as text."""
    from zmartd import config_file, log

    settings = config_file.load(config_path)
    log.configure("error", "console")
    return settings
