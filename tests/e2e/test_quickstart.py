"""The five minutes of docs/quickstart.md, typed word for word."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.development import ENVIRONMENT, Development, wait_until_gone

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = (REPOSITORY / "docs" / "quickstart.md").read_text()
API = "http://127.0.0.1:4000"


def blocks(language: str) -> str:
    """All blocks of one language, in the order of the page."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", QUICKSTART, re.MULTILINE | re.DOTALL))


def test_five_minutes_lead_from_nothing_to_a_payout(tmp_path: Path) -> None:
    dev = Development(tmp_path)
    try:
        api = dev.doors["api"]
        (tmp_path / "trade.py").write_text(blocks("python").replace(API, api))
        script = "set -euo pipefail\n" + blocks("bash").replace(API, api)
        programs = os.pathsep.join((str(Path(sys.executable).parent), ENVIRONMENT["PATH"]))
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
            cwd=tmp_path,
            env=ENVIRONMENT | {"PATH": programs},
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        market = dev.get(
            "api", f"/api/markets/{json.loads((tmp_path / 'market.json').read_text())['market']['id']}"
        )
        assert (market["state"], market["final_outcome"], market["trades_count"]) == ("FINALIZED", True, 2)
        assert "WinningsClaimed" in done.stdout
    finally:
        dev.stop(signal.SIGTERM)
    assert wait_until_gone(tmp_path) == []


@pytest.mark.parametrize("page", ["README.md", "docs/README.md"])
def test_it_is_the_first_page_that_readers_are_led_to(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+\.md)\)", (REPOSITORY / page).read_text())
    assert links[0].rpartition("/")[2] == "quickstart.md"
