"""Every `zmartd` command in a document is one that there is, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from zmartd.cli import main

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    .*$", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_CALL = re.compile(
    r"(?<!-u)(?<!role)(?<!owner)(?<!database)(?:^|[\s/(=])zmartd ((?:[a-z-]+)(?: [^|;&#)\n]*)?)", re.MULTILINE
)
_CLOSERS = "\"'`"


def commands_in(text: str) -> Iterator[str]:
    """What stands after `zmartd` in blocks of code and in code within sentences."""
    blocks = _FENCED.findall(text)
    rest = _FENCED.sub("", text)
    blocks += _INDENTED.findall(rest)
    blocks += [" ".join(span.split()) for span in _SPAN.findall(_INDENTED.sub("", rest))]
    for block in blocks:
        for call in _CALL.findall(block):
            yield call.strip()


def wrong_with(call: str) -> str:
    """What is wrong with a call; empty where nothing is."""
    try:
        words = shlex.split(call)
    except ValueError:
        words = call.replace('"', "").split()
    command: click.Command = main
    options: set[str] = set()
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            if word not in command.commands:
                return f"there is no `zmartd {call}`: {word}"
            command = command.commands[word]
            options |= {one for parameter in command.params for one in parameter.opts}
        elif word.startswith("--"):
            name = word.partition("=")[0].rstrip("`,.:)")
            if name not in options | {"--help", "--version"}:
                return f"`zmartd {call}` has no option {name}"
    return ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_exists_with_its_options(document: Path) -> None:
    assert [wrong for call in commands_in(document.read_text()) if (wrong := wrong_with(call))] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`zmartd tasks explain NAME`", 0),
        ("`zmartd tasks expalin NAME`", 1),
        ("    sudo -u zmartd /opt/zmartd/bin/zmartd check --fix   # mends", 0),
        ("    zmartd check --mend", 1),
        ("```\nzmartd migrate && zmartd srve\n```", 1),
        ("a zmartd of one's own", 0),
    ],
)
def test_a_wrong_command_is_found(text: str, wrong: int) -> None:
    assert sum(bool(wrong_with(call)) for call in commands_in(text)) == wrong
