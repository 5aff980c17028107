from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from zmartd.cli import main


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command


@pytest.mark.parametrize("path", list(commands()))
def test_every_option_says_what_it_is_for(path: tuple[str, ...]) -> None:
    options = [one for one in command_at(path).params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize(("command", "directory"), [("dev", ".zmartd"), ("localnet", ".zmartd/chain")])
def test_help_shows_where_data_is_kept(command: str, directory: str) -> None:
    printed = CliRunner().invoke(main, [command, "--help"]).stdout
    assert f"[default: {directory}]" in " ".join(printed.split())


@pytest.mark.parametrize("path", [(), *commands()])
@pytest.mark.parametrize("width", [40, 80])
def test_no_help_is_cut(path: tuple[str, ...], width: int) -> None:
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=width)
    assert result.exit_code == 0
    usage, _, explanations = result.stdout.partition("\n\n")
    assert usage.startswith("Usage: ")
    assert [line for line in explanations.splitlines() if line.endswith(("...", "…"))] == []
