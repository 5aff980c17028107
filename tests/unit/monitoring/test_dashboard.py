"""grafana/: the dashboard's queries are PromQL about metrics that there are, and its panels have a place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.metric_catalogue import OWN, declared
from tests.promql import known_series, unknown_in
from tests.promtool import read_yaml, run

GRAFANA = Path(__file__).parents[3] / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "zmartd.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"s", "short", "bytes", "percentunit", "reqps", "ops", "cps"}
NOT_SHOWN = {
    "zmartd_alert_deliveries_total",
    "zmartd_asyncio_tasks",
    "zmartd_audit_accounts_total",
    "zmartd_fetched_future_total",
    "zmartd_indexer_quarantined_total",
    "zmartd_indexer_repriced_total",
    "zmartd_indexer_truncated_total",
    "zmartd_parked_transactions_retried_total",
    "zmartd_present_questions_total",
    "zmartd_realtime_entries",
    "zmartd_retention_deleted_rows_total",
    "zmartd_system_audit_oldest_timestamp_seconds",
    "zmartd_websocket_taken_over_connections_total",
    "zmartd_system_chain_slot",
    "zmartd_system_task_next_due_timestamp_seconds",
    "zmartd_task_instants_not_run_total",
    "zmartd_task_leases",
    "zmartd_transactions_parked_total",
}
"""What is for a closer look: in a rule, or beside what is shown."""


def queries() -> Iterator[tuple[str, str]]:
    """Each query with the title of its panel, and variables filled in."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], _filled(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], _filled(annotation["expr"])


def _filled(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


def test_every_metric_and_label_of_a_query_is_there() -> None:
    known = known_series()
    wrong = {title: found for title, expression in queries() if (found := unknown_in(expression, known))}
    assert wrong == {}


def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query_{number}", "expr": expression} for number, (_, expression) in enumerate(queries())
    ]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = run("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_every_label_of_a_legend_is_one_that_its_query_gives() -> None:
    known = known_series()
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            if re.search(r"\b(sum|max|count)\b", expression):
                groups = re.findall(r"\bby \(([^)]*)\)", expression)
                given = {label.strip() for group in groups for label in group.split(",")}
            else:
                given = set().union(*(known.get(name, set()) for name in re.findall(r"\w+", expression)))
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert wanted <= given, panel["title"]


def test_every_query_asks_the_datasource_that_is_chosen() -> None:
    for panel in PANELS:
        assert panel["datasource"] == DATASOURCE
        assert {json.dumps(target["datasource"]) for target in panel["targets"]} == {json.dumps(DATASOURCE)}
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert unknown_in("zmartd_build_info", known_series()) == []
    assert VARIABLES["instance"]["definition"] == "label_values(zmartd_build_info, instance)"


def test_queries_use_no_variable_that_there_is_not() -> None:
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"}
    assert used == set(VARIABLES)


@pytest.mark.parametrize("key", ["id", "title"])
def test_panels_are_told_apart(key: str) -> None:
    values = [panel[key] for panel in DASHBOARD["panels"]]
    assert len(values) == len(set(values))


def test_panels_have_units_and_do_not_cover_each_other() -> None:
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    for panel in DASHBOARD["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]


def test_every_metric_is_shown_or_said_to_be_for_a_closer_look() -> None:
    text = " ".join(expression for _, expression in queries())
    unshown = {
        one.name
        for one in declared()
        if one.name.startswith(OWN) and not any(re.search(rf"\b{name}\b", text) for name in one.series)
    }
    assert unshown == NOT_SHOWN


def test_what_is_of_the_whole_system_is_not_added_up() -> None:
    for title, expression in queries():
        greatest = re.findall(r"\bmax(?: by \([^)]*\) )?\(zmartd_system_", expression)
        assert len(greatest) == expression.count("zmartd_system_"), title


def test_grafana_is_provisioned_with_the_dashboard_and_a_datasource() -> None:
    [source] = read_yaml(GRAFANA / "provisioning" / "datasources" / "zmartd.yml")["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    [provider] = read_yaml(GRAFANA / "provisioning" / "dashboards" / "zmartd.yml")["providers"]
    page = (GRAFANA.parent / "docs" / "monitoring.md").read_text()
    assert provider["type"] == "file"
    assert f"grafana/dashboards/zmartd.json {provider['options']['path']}/" in page


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )
