"""docs/metrics.md has every metric as the registry declares it, and all pages name metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from tests.metric_catalogue import OWN, declared
from tests.record_metrics import MARKER, PAGE, page
from zmartd.alerts.rules import RULES
from zmartd.alerts.system_gauges import GAUGES, PREFIX, SYSTEM

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
NO_METRICS = {"zmartd_version"}


def test_the_page_has_each_metric_with_its_kind_unit_labels_and_help() -> None:
    assert PAGE.read_text() == page(PAGE.read_text()), "python -m tests.record_metrics"


def test_the_page_bounds_every_label_and_no_other() -> None:
    prose, _, _ = PAGE.read_text().partition(MARKER)
    bounded = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]+) \|", prose, re.MULTILINE)))
    assert len(bounded) == len(set(bounded))
    assert set(bounded) == {label for one in declared() for label in one.labels}


def test_a_name_says_whether_a_metric_is_of_the_whole_system() -> None:
    of_the_system = {PREFIX + gauge.name for gauge in GAUGES}
    assert {one.name for one in declared() if one.is_of_the_system} == of_the_system
    shown_elsewhere = {
        name
        for collector, names in REGISTRY._collector_to_names.items()
        if collector is not SYSTEM
        for name in names
    }
    assert {name for name in shown_elsewhere if name.startswith(PREFIX)} == set()


def test_metrics_are_named_for_prometheus_and_explained_in_sentences() -> None:
    own = [one for one in declared() if one.name.startswith(OWN)]
    assert len(own) > 80
    for one in own:
        assert re.fullmatch(r"[a-z][a-z_]*", one.name), one.name
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert not re.search(r"(milliseconds|_ms|_count|_sum|_bucket|percent)$", one.name), one.name
        assert one.documentation.endswith("."), one.name
        assert "|" not in one.documentation, one.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_that_a_page_names_is_there(document: Path) -> None:
    known = {series for one in declared() for series in (one.name, *one.series)} | NO_METRICS
    named = set(re.findall(r"`(zmartd_\w+)", document.read_text()))
    assert {name for name in named if name not in known and name != PREFIX and name != OWN} == set()


def test_every_metric_that_a_rule_s_remedy_names_is_there() -> None:
    named = {name for rule in RULES.values() for name in re.findall(r"`(zmartd_\w+)", rule.remedy)}
    assert named
    assert named <= {one.name for one in declared()}
