"""What the README says can be typed, typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from zmartd.cli import main

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()

COMMANDS = sorted(set(re.findall(r"zmartd [a-z-]+(?: --[a-z-]+)*", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_in_the_readme_exists_with_its_options(command: str) -> None:
    name, *options = command.split()[1:]
    found = main.commands[name]
    known = {option for parameter in found.params for option in parameter.opts}
    assert set(options) <= known


def test_the_readme_lists_every_command() -> None:
    table = re.findall(r"^\| `zmartd ([a-z-]+)`", README, flags=re.MULTILINE)
    assert sorted(table) == sorted(main.commands)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    summary = (main.commands[name].help or "").splitlines()[0]
    assert summary.split()[:5] == result.output.split("\n\n")[1].split()[:5]


def test_ci_runs_the_readme_s_test_command_word_for_word() -> None:
    assert 'pip install ".[test]" && pytest' in README.splitlines()
    assert "README.md" in (REPOSITORY / ".ci" / "run").read_text()
