"""The command line: it collects the commands, each of which imports only what it needs when it runs."""

from __future__ import annotations

import sys
from typing import Any

import click

from zmartd import __version__
from zmartd.commands import (
    alerts,
    backup,
    chain,
    check,
    config,
    decide,
    demo,
    dev,
    inbox,
    index,
    init_program,
    migrate,
    serve,
    tasks,
    tick,
    wallet,
    webhook,
)
from zmartd.commands.groups import Group
from zmartd.commands.output import printable
from zmartd.errors import ZmartdError


class Commands(Group):
    """Shows an error that zmartd raises on purpose as one message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ZmartdError as error:
            raise click.ClickException(printable(error.message)) from error
        except KeyboardInterrupt:
            sys.exit(130)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        serve.serve,
        dev.dev,
        demo.demo,
        wallet.token,
        wallet.sign,
        chain.airdrop,
        chain.travel,
        tick.tick,
        tasks.tasks,
        alerts.alerts,
        decide.decide,
        migrate.migrate,
        check.check,
        config.config,
        init_program.init_program,
        webhook.webhook,
        backup.backup,
        backup.restore,
        index.audit,
        index.backfill,
        inbox.inbox,
        dev.localnet,
    ],
)
@click.version_option(__version__, prog_name="zmartd")
def main() -> None:
    """The off-chain half of a Solana prediction market, in one process."""
