"""`zmartd serve`: the daemon."""

from __future__ import annotations

import faulthandler
import signal
import sys
from pathlib import Path

import click

from zmartd.commands.options import quiet_config_option
from zmartd.commands.running import run_until_stopped
from zmartd.commands.start_up import begin_quickly


@click.command()
@quiet_config_option
def serve(config_path: Path | None) -> None:
    """Run the daemon: REST, WebSocket, webhook and periodic tasks on one port."""
    begin_quickly()

    from zmartd import config_file, daemon, log
    from zmartd.log_output import background_output
    from zmartd.systemd import ServiceManager, Sockets

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be acted on
    manager, sockets = ServiceManager.of_environment(), Sockets.of_environment()
    reading = config_file.read(config_path)
    settings = reading.usable()
    faulthandler.enable(2)  # systemd ends a daemon that stands still with SIGABRT: the log then says where
    with background_output(sys.stderr, _tell_dropped) as output:
        log.configure(settings.log.level, settings.log.format, output)
        logger = log.get_logger(__name__)
        logger.info("config.read", file=None if config_path is None else str(config_path))
        for warning in reading.warnings:
            logger.warning("config.unknown", problem=warning)
        exposed = config_file.exposed_secrets(config_path)
        if exposed:
            logger.warning("config.exposed", problem=exposed)
        run_until_stopped(
            lambda stop: daemon.serve(settings, stop, lambda: config_file.load(config_path), manager, sockets)
        )


def _tell_dropped(lines: int) -> None:
    from zmartd import log

    log.get_logger(__name__).warning("log.dropped", lines=lines)
