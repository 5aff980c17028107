"""docs/runbook.md has a section for each rule of alerts, and each answers the same four questions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zmartd.alerts.rules import RULES

PAGE = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
QUESTIONS = ["Users", "Look first", "Mend", "Wake somebody"]
COMMAND = re.compile(r"^    (zmartd|curl|journalctl|systemctl|chronyc|free|df) ", re.MULTILINE)


def test_the_runbook_has_a_section_for_each_rule_and_no_other() -> None:
    assert list(SECTIONS) == list(RULES)


@pytest.mark.parametrize("name", RULES)
def test_each_section_says_what_it_means_where_to_look_how_to_mend_and_whom_to_wake(name: str) -> None:
    section = SECTIONS[name]
    assert re.findall(r"^\*\*([A-Z][a-z ]+)\.\*\* ", section, re.MULTILINE) == QUESTIONS
    look = section[section.index("**Look first.**") : section.index("**Mend.**")]
    assert COMMAND.search(look), "what to look at is a command that can be pasted"
