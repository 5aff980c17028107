"""docs/alerts.md says of each rule what the rule says of itself."""

from __future__ import annotations

from pathlib import Path

from zmartd.alert_settings import AlertSettings
from zmartd.alerts.messages import AlertData, Kind
from zmartd.alerts.rule import Rule
from zmartd.alerts.rules import RULES

PAGE = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()


def row(rule: Rule) -> str:
    defaults = AlertSettings()
    thresholds = (
        f"`{name}` = {value:g}"
        if isinstance(value := getattr(defaults, name), float)
        else f"`{name}` = {value}"
        for name in rule.settings
    )
    return (
        f"| [`{rule.name}`](runbook.md#{rule.name}) ({rule.severity}) | {rule.meaning} | {rule.remedy} | "
        f"{', '.join(thresholds) or '-'} |"
    )


def test_the_page_has_every_rule_with_its_meaning_remedy_and_thresholds() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| [`")]
    assert rows == [row(rule) for rule in RULES.values()]


def test_rules_say_in_sentences_what_has_happened_and_what_to_do() -> None:
    for rule in RULES.values():
        assert rule.meaning.endswith("."), rule.name
        assert rule.remedy.endswith((".", "?")), rule.name
        assert "|" not in rule.meaning + rule.remedy, rule.name


def test_the_page_names_what_a_message_has() -> None:
    for kind in Kind.__args__:  # type: ignore[attr-defined]
        assert f"`{kind}`" in PAGE
    for field in AlertData.__struct_fields__:
        assert f"`{field}`" in PAGE
