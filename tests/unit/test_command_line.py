from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from zmartd.cli import main
from zmartd.commands.instance import Instance, claimed


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


@pytest.mark.parametrize(("command", "directory"), [("dev", ".zmartd"), ("localnet", ".zmartd/localnet")])
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


CONFIGURED = [path for path in commands() if "config_path" in {one.name for one in command_at(path).params}]
ARGUMENTS = {
    ("airdrop",): ["7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS", "1"],
    ("travel",): ["1h"],
    ("sign",): ["wallet.json"],
    ("decide",): ["0" * 64, "--keep", "--because", "for the test", "--yes"],
    ("tasks", "explain"): ["market_monitor"],
    ("tasks", "pause"): ["market_monitor", "--because", "for the test"],
    ("tasks", "resume"): ["market_monitor"],
    ("alerts", "ack"): ["42", "--because", "for the test"],
    ("backup",): ["file"],
    ("restore",): ["file"],
    ("init-program",): ["--fee-wallet", "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS", "--yes"],
    ("webhook", "delete"): ["some-id"],
    ("inbox", "retry"): ["--all"],
    ("inbox", "replay"): ["--all"],
}


@pytest.mark.parametrize("path", CONFIGURED, ids=" ".join)
def test_every_command_finds_the_dev_of_this_folder_and_says_so_unless_it_is_told_otherwise(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fails at a file that is invalid on purpose. `serve` writes a log, and says it there."""
    files = {name: tmp_path / f"{name}.toml" for name in ("running", "zmartd", "variable", "option")}
    for file in files.values():
        file.write_text("nonsense = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZMARTD_CONFIG", raising=False)

    def require(name: str, *options: str, note: str = "", **environment: str) -> None:
        arguments = [*path, *ARGUMENTS.get(path, ()), *options]
        result = CliRunner(env=environment).invoke(main, arguments)
        assert result.exit_code == 1
        assert f"{name}.toml: nonsense: there is no such setting" in result.output
        if path != ("serve",):
            assert result.stderr.splitlines()[0] == f"using {name}.toml{note}"

    require("zmartd")
    with claimed(tmp_path / ".zmartd") as claim:
        claim.say(Instance(1234, "http://127.0.0.1:4000", str(files["running"])))
        require("running", note=" of the zmartd dev that runs here (process 1234)")
        variable = str(files["variable"])
        require("variable", ZMARTD_CONFIG=variable)
        require("option", "--config", str(files["option"]), ZMARTD_CONFIG=variable)
    require("zmartd", note="; no zmartd dev runs here")
