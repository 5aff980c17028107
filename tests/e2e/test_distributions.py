"""The sdist and the wheel that people install, and the single file with Python in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SOURCES = ("zmartd", "sql", "docs", "LICENSE", "README.md", "pyproject.toml", "setup.cfg")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what distributions are made from, for building leaves files beside it."""
    directory = tmp_path_factory.mktemp("sources")
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, directory / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, directory / name)
    return directory


def test_the_wheel_and_the_sdist_are_complete_and_pass_twine(sources: Path) -> None:
    # Without options, the wheel is made from the sdist.
    _run(sys.executable, "-m", "build", "--no-isolation", str(sources))
    distributions = sorted((sources / "dist").iterdir())
    assert [path.suffix for path in distributions] == [".whl", ".gz"]
    _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions))

    with zipfile.ZipFile(distributions[0]) as wheel:
        contents = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "zmartd"
    tree = {
        str(path.relative_to(ROOT))
        for part in ("", "sql", "http/guide/docs")
        for path in (package / part).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert contents == tree


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_the_single_file_plays_the_demo_where_there_is_no_python(tmp_path: Path) -> None:
    _run(str(ROOT / "scripts/build-binary"))
    program = shutil.copy(ROOT / "dist/zmartd", tmp_path)
    bare = {"PATH": "/nonexistent", "HOME": str(tmp_path), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    played = subprocess.run(
        [program, "demo", "--json"], check=False, capture_output=True, text=True, env=bare
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert json.loads(played.stdout)["ok"] is True


def _run(*command: str) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
