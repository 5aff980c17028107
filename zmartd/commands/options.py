"""The options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from zmartd import config, config_file

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


def operator_settings(config_path: Path | None) -> config.Settings:
    """The settings of a command that prints a result; it logs only errors, as text."""
    from zmartd import log

    settings = config_file.load(config_path)
    log.configure("error", "console")
    return settings
