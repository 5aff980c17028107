"""`zmartd serve`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from zmartd import config_file
from zmartd.commands.options import quiet_config_option
from zmartd.commands.running import run_until_stopped


@click.command()
@quiet_config_option
def serve(config_path: Path | None) -> None:
    """Run the daemon: REST, WebSocket, webhook and periodic tasks on one port."""
    from zmartd import daemon, log

    reading = config_file.read(config_path)
    settings = reading.usable()
    log.configure(settings.log.level, settings.log.format)
    logger = log.get_logger(__name__)
    logger.info("config.read", file=None if config_path is None else str(config_path))
    for warning in reading.warnings:
        logger.warning("config.unknown", problem=warning)
    exposed = config_file.exposed_secrets(config_path)
    if exposed:
        logger.warning("config.exposed", problem=exposed)
    run_until_stopped(lambda stop: daemon.serve(settings, stop))
