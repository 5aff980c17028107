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
END_OF_BLOCK = "-- end of block --"
PRINTED = (
    (" has 100 SOL now",),
    (),
    ("MarketCreated",),
    ('"vote_type":"proposal"', "MarketActivated"),
    ("SharesBought", '"yes":{"shares":"'),
    ("SharesBought",),
    ("MarketResolved", "on the chain it is ", "WinningsClaimed"),
)
"""What each of the page's blocks for the shell prints among other things."""


def blocks(language: str) -> list[str]:
    """The blocks of one language, in the order of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", QUICKSTART, re.MULTILINE | re.DOTALL)


def run_script(dev: Development, script: str) -> subprocess.CompletedProcess[str]:
    """Run what a reader types, in the folder of `dev`."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), ENVIRONMENT["PATH"]))
    return subprocess.run(
        ["bash", "-c", script.replace(API, dev.doors["api"])],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=dev.folder,
        env=ENVIRONMENT | {"PATH": programs},
    )


def test_five_minutes_lead_from_nothing_to_a_payout(tmp_path: Path) -> None:
    """Also on a chain whose clock is far ahead; and what goes wrong is shown, and ends the block."""
    dev = Development(tmp_path)
    try:
        dev.run_for_json("travel", "400d", "--json")
        [python] = blocks("python")
        (tmp_path / "trade.py").write_text(python.replace(API, dev.doors["api"]))
        shell = blocks("bash")
        typed = "".join(f"{block}\necho '{END_OF_BLOCK}'\n" for block in shell)
        done = run_script(dev, f"set -euo pipefail\n{typed}")
        assert done.returncode == 0, (done.stdout, done.stderr)
        printed = done.stdout.split(END_OF_BLOCK)
        for expected, said in zip(PRINTED, printed[:-1], strict=True):
            assert [text for text in expected if text not in said] == [], said
        market_id = json.loads((tmp_path / "market.json").read_text())["market"]["id"]
        assert f'"market_id":"{market_id}"' in printed[4]
        market = dev.get("api", f"/api/markets/{market_id}")
        assert (market["state"], market["final_outcome"], market["trades_count"]) == ("FINALIZED", True, 2)

        functions, proposal = shell[1:3]
        refused = run_script(dev, f"{functions}\nTOKEN=wrong\n{proposal}")
        assert refused.returncode != 0
        assert '"code":"auth_bad_token"' in refused.stderr
        assert "Traceback" not in refused.stderr
        assert "MarketCreated" not in refused.stdout
    finally:
        dev.stop(signal.SIGTERM)
    assert wait_until_gone(tmp_path) == []
    waiting = f"{functions}\nMARKET=any\nwait_for APPROVED"
    for typed in (f"{functions}\n{proposal}", waiting):
        unanswered = run_script(dev, typed)
        assert unanswered.returncode != 0
        assert unanswered.stderr.count("curl: (7)") == 1
        assert "Traceback" not in unanswered.stderr


def test_no_command_hides_that_it_failed() -> None:
    requests = re.findall(r"\bcurl .*", "".join(blocks("bash")))
    assert requests
    assert [request for request in requests if "--fail-with-body" not in request] == []


@pytest.mark.parametrize("page", ["README.md", "docs/README.md"])
def test_it_is_the_first_page_that_readers_are_led_to(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+\.md)\)", (REPOSITORY / page).read_text())
    assert links[0].rpartition("/")[2] == "quickstart.md"
