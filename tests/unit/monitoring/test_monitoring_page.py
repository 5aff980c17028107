"""docs/monitoring.md: what it tells operators to write and to run is right."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from tests.promtool import RULES_FILE, run
from zmartd.config import OperatorSettings

PAGE = (RULES_FILE.parents[1] / "docs" / "monitoring.md").read_text()


def test_prometheus_takes_the_configuration_with_the_rules(tmp_path: Path) -> None:
    [block] = re.findall(r"^    # prometheus.yml\n((?:    .*\n)+)", PAGE, re.MULTILINE)
    assert "/etc/prometheus/zmartd.rules.yml" in block
    file = tmp_path / "prometheus.yml"
    file.write_text(dedent(block).replace("/etc/prometheus/zmartd.rules.yml", str(RULES_FILE)))
    done = run("check", "config", str(file))
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout
    assert "job_name: zmartd " in block, "the rules go by it"


def test_the_page_names_the_operator_s_address_and_the_rules_file() -> None:
    operator = OperatorSettings()
    assert f"{operator.host}:{operator.port}" in PAGE
    assert f"prometheus/{RULES_FILE.name}" in PAGE
