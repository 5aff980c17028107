"""The demonstration's report."""

from __future__ import annotations

import msgspec
import pytest

from tests.signing_wallet import FixedClock
from zmartd.embedded.demo.polling import WaitTimedOut
from zmartd.embedded.demo.report import Audit, Report, Step

CLEAN = Audit(markets=4, positions=20, differences=0)
SIGNATURE = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


def test_the_json_has_exactly_the_promised_keys() -> None:
    clock = FixedClock()
    report = Report(clock)
    report.add("A", "proposed", signature=SIGNATURE)
    clock.now += 12.3456
    report.add("", "time passes", detail="72 hours")
    assert msgspec.json.decode(msgspec.json.encode(report.finish(160, CLEAN))) == {
        "ok": True,
        "seconds": 12.35,
        "steps": [
            {"market": "A", "step": "proposed", "ok": True, "signature": SIGNATURE},
            {"market": "", "step": "time passes", "ok": True, "detail": "72 hours"},
        ],
        "ws_frames": 160,
        "audit": {"markets": 4, "positions": 20, "differences": 0},
    }


@pytest.mark.parametrize("audit", [None, Audit(markets=4, positions=20, differences=1)])
def test_without_a_clean_audit_it_is_not_ok(audit: Audit | None) -> None:
    report = Report(FixedClock())
    report.add("A", "proposed")
    result = report.finish(0, audit)
    assert result.ok is False
    assert result.audit == (audit or Audit(0, 0, 0))


def test_one_step_that_failed_makes_it_not_ok() -> None:
    report = Report(FixedClock())
    report.add("A", "proposed")
    report.add("A", "activate", ok=False)
    assert report.finish(0, CLEAN).ok is False


def fail(error: Exception) -> None:
    raise error


def test_what_goes_wrong_becomes_a_step_and_the_report_goes_on() -> None:
    report = Report(FixedClock())
    with report.failing_with("the markets"):
        fail(WaitTimedOut("market A never became APPROVED"))
    with report.failing_with("the audit"):
        fail(KeyError("id"))
    report.add("", "the end")
    assert report.finish(0, CLEAN).steps == (
        Step("", "the markets", ok=False, detail="WaitTimedOut: market A never became APPROVED"),
        Step("", "the audit", ok=False, detail="KeyError: 'id'"),
        Step("", "the end", ok=True),
    )


def test_the_listener_hears_each_step_when_it_happens() -> None:
    heard: list[tuple[float, Step]] = []
    clock = FixedClock()
    report = Report(clock, lambda seconds, step: heard.append((seconds, step)))
    report.add("A", "proposed")
    clock.now += 1.5
    report.add("A", "activate")
    assert heard == [(0.0, Step("A", "proposed", ok=True)), (1.5, Step("A", "activate", ok=True))]
