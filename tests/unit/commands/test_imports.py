"""What commands import, and so how soon they are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click

_MODULE = re.compile(r"^import time: .*\| +(\S+)$", re.MULTILINE)


def _imported_by(*arguments: str) -> set[str]:
    """The modules that a process of the command imports, packages among them."""
    command = [sys.executable, "-X", "importtime", "-m", "zmartd", *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]
    )
    return set(_MODULE.findall(ended.stderr))


def _installed_packages() -> set[str]:
    """The top names of what is installed beside zmartd, but for what Python itself imports when it starts."""
    names = {file.parent.name for file in Path(click.__file__).parents[1].glob("*/__init__.py")}
    return {name for name in names - {"zmartd"} if not name.startswith("_")}


def test_the_help_imports_no_settings_no_loop_and_two_packages() -> None:
    imported = _imported_by("--help")
    assert "zmartd.commands.serve" in imported, "the test found nothing"
    assert imported & {"asyncio", "ssl", "tomllib", "zmartd.config", "zmartd.config_file"} == set()
    assert imported & _installed_packages() == {"click", "msgspec"}


def test_the_daemon_imports_nothing_that_packages_have_for_others(tmp_path: Path) -> None:
    empty = tmp_path / "zmartd.toml"
    empty.touch()
    imported = _imported_by("serve", "--config", str(empty))
    assert {"zmartd.daemon", "httpx", "anchorpy.coder", "structlog.dev"} <= imported, "the test found nothing"
    assert imported & {"pygments", "pytest", "rich.console"} == set()
    assert imported & {"markdown_it", "zmartd.embedded", "zmartd.doctor"} == set()
