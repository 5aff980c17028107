"""Debian's promtool, which knows whether rules are right and when they fire."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from ruamel.yaml import YAML

from tests.debian_packages import NotToBeHad, Program, debian_program

RULES_FILE = Path(__file__).parents[1] / "prometheus" / "zmartd.rules.yml"


def promtool() -> Program:
    """Skips the test where it is not to be had."""
    try:
        return debian_program("promtool", "prometheus", "usr/bin")
    except NotToBeHad as error:
        pytest.skip(str(error))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = promtool()
    command = [str(program.path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=program.environment, check=False)


def read_yaml(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text())


def shipped_rules() -> list[dict[str, Any]]:
    return [rule for group in read_yaml(RULES_FILE)["groups"] for rule in group["rules"]]


class Played(Struct, frozen=True):
    """A rule that is played on series: each has a value for each minute, or None. `expected` are the labels
    of the alerts that fire, by the minute.
    """

    rule: Mapping[str, Any]
    series: Mapping[str, Sequence[float | None]]
    expected: Mapping[int, Sequence[Mapping[str, str]]]


def test_rules(directory: Path, plays: Iterable[Played]) -> subprocess.CompletedProcess[str]:
    """Play each by itself: with all rules each time it takes as much longer as there are rules."""
    files = []
    for number, one in enumerate(plays):
        rules, tests = directory / f"rules-{number}.json", directory / f"tests-{number}.json"
        rules.write_text(json.dumps({"groups": [{"name": "one", "rules": [one.rule]}]}))  # JSON is YAML
        content = {"rule_files": [str(rules)], "evaluation_interval": "30s", "tests": [_test(one)]}
        tests.write_text(json.dumps(content))
        files.append(str(tests))
    return run("test", "rules", *files)


def _test(played: Played) -> dict[str, Any]:
    alert = {"alertname": played.rule["alert"], "alertstate": "firing"}
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": " ".join("_" if one is None else repr(one) for one in values)}
            for name, values in played.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": _series(alert),
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": _series({**alert, **labels}), "value": 1} for labels in firing],
            }
            for minute, firing in played.expected.items()
        ],
    }


test_rules.__test__ = False  # type: ignore[attr-defined]


def _series(labels: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name}={json.dumps(str(value))}" for name, value in sorted(labels.items()))
    return f"ALERTS{{{inside}}}"
