"""`zmartd serve`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from zmartd import config_file
from zmartd.commands.options import config_option
from zmartd.commands.running import run_until_stopped


@click.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the daemon: REST, WebSocket, webhook and periodic tasks on one port."""
    from zmartd import daemon, log

    settings = config_file.load(config_path)
    log.configure(settings.log.level, settings.log.format)
    exposed = config_file.exposed_secrets(config_path)
    if exposed:
        log.get_logger(__name__).warning("config.exposed", problem=exposed)
    run_until_stopped(lambda stop: daemon.serve(settings, stop))
