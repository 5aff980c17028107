"""`zmartd demo` once, for real, and its contract with programs that call it."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_demonstration_holds_and_says_so_in_json() -> None:
    command = [sys.executable, "-m", "zmartd", "demo", "--json"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(ended.stdout)
    assert set(result) == {"ok", "seconds", "steps", "ws_frames", "audit"}
    assert result["ok"] is True
    assert result["audit"] == {"markets": 4, "positions": 20, "differences": 0}
    assert result["ws_frames"] >= 80
    assert {step["market"] for step in result["steps"]} == {"", "A", "B", "C", "D"}
    for step in result["steps"]:
        assert set(step) <= {"market", "step", "ok", "signature", "detail"}
        assert step["ok"] is True
    done = {(step["market"], step["step"]) for step in result["steps"]}
    assert {
        ("A", "approved by the aggregator"),
        ("A", "finalized by the monitor"),
        ("A", "winners claim"),
        ("A", "withdraw"),
        ("B", "dispute"),
        ("B", "outcome flipped"),
        ("C", "never approved"),
        ("D", "cancel"),
    } <= done
