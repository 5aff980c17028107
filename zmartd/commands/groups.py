"""The group that commands belong to: its list of commands shows whole sentences."""

from __future__ import annotations

from typing import Final

import click

_WHOLE: Final = 10_000
"""More characters than any summary has. click cuts them at the width of the terminal, instead of wrapping."""


class Group(click.Group):
    """A group whose help never cuts a command's summary, however narrow the terminal."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, command.get_short_help_str(_WHOLE))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class ListByDefault(Group):
    """Without the name of a command, `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)
