"""What `zmartd config` shows, and what is made of the settings' declarations."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.record_settings import PAGE, SHIPPED, page
from zmartd import __version__
from zmartd.cli import main
from zmartd.config import Settings
from zmartd.config_file import Setting, load, read, settings_table
from zmartd.config_text import defaults_toml, effective, masked
from zmartd.config_values import ConfigError, Secret, Url
from zmartd.toml_lines import key_lines

KEY = random.Random(5).randbytes(16).hex()
SECRET = "Zq7XvK2jWp9b"


def shown(path: Path | None, environ: dict[str, str], *, plugins: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        one.name: (one.value, one.origin, one.is_usable)
        for one in effective(read(path, environ, plugins=plugins))
    }


def test_what_is_made_of_the_settings_is_recorded() -> None:
    """`python -m tests.record_settings` does."""
    assert SHIPPED.read_text() == defaults_toml()
    assert PAGE.read_text() == page(PAGE.read_text())


def test_the_complete_file_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(CliRunner().invoke(main, ["config", "--defaults"]).stdout)
    assert load(file, {}) == Settings()
    given = read(file, {}).origins
    assert given.keys() == {setting.name for setting in settings_table()}
    lines = file.read_text().splitlines()
    for name, origin in given.items():
        path, _, line = origin.rpartition(":")
        assert path == str(file)
        assert lines[int(line) - 1].startswith(f"{name.rpartition('.')[2]} = "), name


def test_each_value_is_shown_with_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text("\n[server]\n# a comment\nport = 5000\nhost = '::1'\n[tasks.greeter]\nword = 'hi'\n")
    rows = shown(
        file,
        {"ZMARTD_SERVER_PORT": "6000", "ZMARTD_TASKS_GREETER_TIMES": "3", "ZMARTD_LOG_LEVEL": "loud"},
        plugins=("greeter",),
    )
    assert rows["server.port"] == (6000, "$ZMARTD_SERVER_PORT", True)
    assert rows["server.host"] == ("::1", f"{file}:5", True)
    assert rows["server.max_body_bytes"] == (65_536, "default", True)
    assert rows["log.level"] == ("info", "$ZMARTD_LOG_LEVEL", False)
    assert rows["tasks.greeter.word"] == ("***", f"{file}:7", True)
    assert rows["tasks.greeter.times"] == ("***", "$ZMARTD_TASKS_GREETER_TIMES", True)


@pytest.mark.parametrize("setting", [one for one in settings_table() if isinstance(one.default, Secret)])
def test_no_secret_is_shown(setting: Setting) -> None:
    if not isinstance(setting.default, Url):
        value = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=" if "alerts" in setting.name else KEY
    else:
        scheme = type(setting.default).schemes[0]
        value = f"{scheme}://user:{SECRET}@host.example:81/{SECRET}?key={SECRET}&sslmode=require"
    [row] = [
        one
        for one in effective(read(None, {setting.environment_variable: value}))
        if one.name == setting.name
    ]
    assert row.is_usable
    assert row.origin == f"${setting.environment_variable}"
    if setting.name in {"database.url", "database.replica_url", "redis.url"}:
        assert (
            row.value == f"{scheme}://***@host.example:81/{SECRET}?sslmode=require&***"
        )  # the database's name
    elif isinstance(setting.default, Url):
        assert row.value == f"{scheme}://***@host.example:81/***?sslmode=require&***"
    else:
        assert row.value == "***"


def test_a_url_without_secrets_is_shown_whole() -> None:
    for text in ("postgresql://localhost:5432/zmartd", "redis://localhost:6379/0", "unix:///run/redis.sock"):
        for setting in settings_table():
            if isinstance(setting.default, Url) and text.partition(":")[0] in setting.default.schemes:
                assert masked(type(setting.default)(text)).replace("////", "///") == text


@pytest.mark.parametrize("output", [[], ["--json"]])
def test_all_that_cannot_be_used_is_named_at_once_and_the_rest_is_shown(
    tmp_path: Path, output: list[str]
) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(
        f"[database]\nurl = 'postgresql://zmartd:{SECRET}#9@db.example/zmart'\n[server]\nprot = 1\n"
    )
    environment = {name: None for name in os.environ if name.startswith("ZMARTD_")}
    result = CliRunner(env={**environment, "ZMARTD_LOG_LEVEL": "loud"}).invoke(
        main, ["config", "--config", str(file), *output]
    )
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert "Error: " + f"{file}: database.url: the value given does not fit" in result.stderr
    assert "server.prot: there is no such setting; did you mean server.port?" in result.stderr
    assert "$ZMARTD_LOG_LEVEL: 'loud'" in result.stderr
    if output:
        found = {one["name"]: one for one in json.loads(result.stdout)["settings"]}
        assert found["database.url"]["is_usable"] is False
        assert found["server.port"]["value"] == 4000
    else:
        rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
        assert rows["database.url"] == ["does", "not", "fit", f"{file}:2"]
        assert rows["server.port"] == ["4000", "default"]


def test_a_file_that_is_not_there_or_not_toml_leaves_what_the_environment_says(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[server\n")
    for file in (tmp_path / "absent.toml", broken):
        reading = read(file, {"ZMARTD_SERVER_PORT": "6000"})
        assert len(reading.problems) == 1
        assert reading.settings.server.port == 6000
        assert "server.port" not in reading.unusable
        assert {"server.host", "database.url"} <= reading.unusable


def later(place: int) -> str:
    numbers = [int(one) for one in __version__.split(".")]
    numbers[place] += 1
    return ".".join(map(str, numbers))


@pytest.mark.parametrize("version", [later(0), later(1), later(2), f"{later(1)}rc1"])
def test_what_is_unknown_in_a_file_for_a_newer_version_is_a_warning(tmp_path: Path, version: str) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(f"zmartd_version = '{version}'\n[server]\nprot = 1\nhost = '::1'\n[novelty]\nx = 1\n")
    reading = read(file, {})
    assert not reading.problems
    assert reading.usable().server.host == "::1"
    assert [one.partition(": ")[2].partition(":")[0] for one in reading.warnings] == [
        "server.prot",
        "novelty",
    ]
    assert "did you mean server.port?" in reading.warnings[0]


@pytest.mark.parametrize("version", ["0.0.9", __version__])
def test_what_is_unknown_in_a_file_for_this_version_or_an_older_one_is_refused(
    tmp_path: Path, version: str
) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(f"zmartd_version = '{version}'\n[server]\nprot = 1\n")
    with pytest.raises(ConfigError, match=r"did you mean server\.port"):
        load(file, {})


@pytest.mark.parametrize("version", ["'new'", "1", "[]", "''"])
def test_a_version_that_is_none_is_refused_with_the_form_of_one(tmp_path: Path, version: str) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(f"zmartd_version = {version}\n")
    with pytest.raises(ConfigError, match=f'write .* as zmartd_version = "{__version__}"'):
        load(file, {})


def test_a_value_that_does_not_fit_is_refused_in_a_newer_file_too(tmp_path: Path) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(f"zmartd_version = '{later(0)}'\n[server]\nport = 'x'\n")
    with pytest.raises(ConfigError, match=r"server\.port"):
        load(file, {})


def test_the_line_of_each_key_is_found_however_it_is_written() -> None:
    text = '''\
top = 1

[a.b]  # a comment with ] and =
one = [
    "x = 1",  # [not.a.table]
]
"quoted key" = """
[no]
two = 2
"""
three.four = { five = 5 }
[[list]]
x = 1
[[list]]
x = 2
'''
    assert key_lines(text) == {
        "top": 1,
        "a": 3,
        "a.b": 3,
        "a.b.one": 4,
        "a.b.quoted key": 7,
        "a.b.three": 11,
        "a.b.three.four": 11,
        "a.b.three.four.five": 11,
        "list": 12,
        "list.x": 13,
    }
    assert key_lines("x = 1\n[a\nb = 2\n") == {"x": 1}
