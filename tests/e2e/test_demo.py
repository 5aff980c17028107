"""`zmartd demo --json` once, for real, and its contract with the programs that call it."""

from __future__ import annotations

import json
import subprocess
import sys

from zmartd.market.ids import base58_decode

LIMIT_SECONDS = 600
"""For a machine that is many times slower."""

PLOT = [
    ("A", "proposed"),
    ("A", "proposal voted on"),
    ("A", "approved by the aggregator"),
    ("A", "activate"),
    ("A", "bought and sold"),
    ("A", "resolve"),
    ("A", "left open by the monitor"),
    ("A", "finalized by the monitor"),
    ("A", "outcome kept"),
    ("A", "winners claim"),
    ("A", "withdraw"),
    ("B", "dispute"),
    ("B", "dispute voted on"),
    ("B", "left open by the aggregator"),
    ("B", "finalized by the aggregator"),
    ("B", "outcome flipped"),
    ("B", "winners claim"),
    ("C", "proposal voted on"),
    ("C", "left by the aggregator"),
    ("C", "still not approved"),
    ("D", "cancel"),
    ("D", "withdraw"),
]


def test_the_demonstration_holds_and_says_so_in_json() -> None:
    command = [sys.executable, "-m", "zmartd", "demo", "--json"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    result = json.loads(ended.stdout)
    assert list(result) == ["ok", "seconds", "steps", "ws_frames", "audit"]
    assert result["ok"] is True
    assert isinstance(result["seconds"], float)
    assert result["seconds"] > 0
    assert result["audit"] == {"markets": 4, "positions": 20, "differences": 0}
    # Each of the 80 trades is told by a frame of its own.
    assert type(result["ws_frames"]) is int
    assert result["ws_frames"] >= 80

    for step in result["steps"]:
        assert {"market", "step", "ok"} <= set(step) <= {"market", "step", "ok", "signature", "detail"}
        assert step["market"] in {"", "A", "B", "C", "D"}
        assert step["ok"] is True
        if "signature" in step:
            assert len(base58_decode(step["signature"])) == 64
        if "detail" in step:
            assert step["detail"]
    done = [(step["market"], step["step"]) for step in result["steps"]]
    for market in "ABCD":
        expected = [scene for scene in PLOT if scene[0] == market]
        assert [scene for scene in done if scene in expected] == expected
