"""docs/secrets.md says of every setting that is a secret how it is rotated."""

from __future__ import annotations

import re
from pathlib import Path

from zmartd.config_file import settings_table
from zmartd.config_values import Secret
from zmartd.credentials import PATH_SUFFIX

PAGE = (Path(__file__).parents[2] / "docs" / "secrets.md").read_text()
SECTIONS = {
    name: body
    for heading, body in re.findall(r"^## ([^\n]*`[^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`([\w.]+)`", heading)
}
PUBLIC_FILES = {"solana.idl_path"}


def test_every_secret_has_a_section_and_nothing_else_has_one() -> None:
    secrets = {
        one.name for one in settings_table() if isinstance(one.kind, type) and issubclass(one.kind, Secret)
    }
    key_files = {one.name for one in settings_table() if one.name.endswith(PATH_SUFFIX)} - PUBLIC_FILES
    assert len(secrets) > 15
    assert SECTIONS.keys() == secrets | key_files


def test_every_section_says_what_happens_meanwhile_and_whether_two_are_valid_at_once() -> None:
    for name, section in SECTIONS.items():
        assert re.search(r"^\*\*Two at once\.\*\* (Yes|No)", section, re.MULTILINE), name
        assert "\n1. " in section or "restart" in section.lower(), name
