"""A task of another package, installed as an operator would, with its settings in zmartd.toml."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import run

import pytest

PACKAGE = Path(__file__).parents[2] / "example_plugin"

Zmartd = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of packages in which only the example is installed."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)  # setuptools builds in it
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source)],
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )
    return target


@pytest.fixture
def zmartd(environment: dict[str, str], site: Path, tmp_path: Path) -> Zmartd:
    """Runs a command with a zmartd.toml; its exit status, output and errors."""

    async def command(configuration: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
        file = tmp_path / "zmartd.toml"
        file.write_text(configuration)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "zmartd", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | variables | {"PYTHONPATH": f"{site}{os.pathsep}{Path.cwd()}"},
            cwd=tmp_path,
        )
        async with asyncio.timeout(600):
            output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    return command


SETTINGS = "[tasks.greeter]\ngreeting = 'good morning'\ntimes = 2\n"


async def test_it_runs_with_its_settings_and_is_listed_among_the_others(zmartd: Zmartd) -> None:
    status, output, _ = await zmartd(SETTINGS, "tick", "greeter", "--json", ZMARTD_TASKS_GREETER_TIMES="3")
    assert status == 0
    (report,) = json.loads(output)
    assert [action["detail"] for action in report["actions"]] == ["good morning"] * 3
    status, output, _ = await zmartd(SETTINGS, "tasks")
    assert status == 0
    (line,) = [line for line in output.splitlines() if line.startswith("greeter")]
    assert " ago  ok " in line


async def test_a_mistake_in_its_settings_is_its_own_and_names_the_setting_and_the_rule(
    zmartd: Zmartd,
) -> None:
    wrong = "[tasks.greeter]\ngreeting = 'good morning'\ntimes = 11\ntime = 1\n"
    told = (
        "tasks.greeter.times: 11 does not fit: Expected `int` <= 10. It is how often it says it in one run. "
        "tasks.greeter.time: there is no such setting; did you mean times?"
    )
    status, output, _ = await zmartd(wrong, "tick", "--json")
    assert status == 1
    reports = {report["task"]: report for report in json.loads(output)}
    assert set(reports) > {"greeter", "leaderboard"}
    assert told in reports["greeter"]["failure"]
    assert reports["leaderboard"]["failure"] is None

    _, output, _ = await zmartd(wrong, "check", "--json")
    (plugins,) = [one for one in json.loads(output) if one["check"] == "plugins"]
    assert plugins["verdict"] == "failed"
    assert told in plugins["detail"]

    _, output, _ = await zmartd("", "tick", "greeter", "--json")
    assert "tasks.greeter.greeting: it has to be given. It is what it says." in output


async def test_a_table_of_a_task_that_is_not_installed_is_an_error(zmartd: Zmartd) -> None:
    status, _, errors = await zmartd("[tasks.sweeper]\ngreeting = 'x'\n", "tick", "greeter")
    assert status == 1
    assert "tasks.sweeper: there is no such setting" in errors
