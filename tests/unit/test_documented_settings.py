"""Every setting that a document names is there, and every configuration in one can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zmartd.config_file import read, settings_table
from zmartd.config_values import PostgresUrl, RedisUrl

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in (*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").glob("*.md")))
    if path.name != "CHANGELOG.md"
]
SETTINGS = {setting.name for setting in settings_table()}
SECTIONS = {name.partition(".")[0] for name in SETTINGS}
VARIABLES = {f"ZMARTD_{name.replace('.', '_').upper()}" for name in SETTINGS}
OTHER_VARIABLES = {"ZMARTD_CONFIG", "ZMARTD_PYTHONS", "ZMARTD_SECTION_NAME"}

EVENTS = {
    *re.findall(
        r'"([a-z_]+\.[a-z_]+)"', "".join(p.read_text() for p in (REPOSITORY / "zmartd").rglob("*.py"))
    )
}
"""Events of the log are written like settings: `realtime.catch_up_failed`."""

_NAMED = re.compile(rf"`((?:{'|'.join(sorted(SECTIONS))})\.[a-z_]+(?:\.[a-z_]+)*)(?: ?=[^`]*)?`")
_VARIABLE = re.compile(r"\bZMARTD_[A-Z_]+\b")
_TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_URL = re.compile(r"\b(postgresql|rediss?)://[^\s`\"']+")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_and_variable_in_a_document_exists(document: Path) -> None:
    text = document.read_text()
    unknown = {name for name in _NAMED.findall(text) if not _is_known(name)}
    unknown |= set(_VARIABLE.findall(text)) - VARIABLES - OTHER_VARIABLES
    assert unknown == set()


def _is_known(name: str) -> bool:
    """Whether it is a setting, a table of settings, or something else that is written like one."""
    is_table = any(one.startswith(f"{name}.") for one in SETTINGS)
    return name in SETTINGS or is_table or name in EVENTS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_configuration_in_a_document_can_be_used(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(_TOML.findall(document.read_text())):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        assert read(file, {}, plugins=()).problems == [], block


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_database_url_in_a_document_can_be_read(document: Path) -> None:
    kinds = {"postgresql": PostgresUrl, "redis": RedisUrl, "rediss": RedisUrl}
    for match in _URL.finditer(document.read_text()):
        url = match[0].replace("$password", "secret").replace(":port", ":1").rstrip(".,:;)")
        kinds[match[1]](url)


def test_a_wrong_name_is_found() -> None:
    assert _NAMED.findall("`server.prot`, `redis.url = 1` and `docs.md`") == ["server.prot", "redis.url"]
    assert [_is_known(name) for name in ("server.prot", "redis.url", "tasks.auditor")] == [False, True, True]
