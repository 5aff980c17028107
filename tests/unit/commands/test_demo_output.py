from __future__ import annotations

import click
import pytest

from tests.signing_wallet import FixedClock
from zmartd.commands.demo import step_line, verdict
from zmartd.embedded.demo.report import Audit, Report, Step

SIGNATURE = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


def test_a_step_is_one_aligned_line() -> None:
    done = step_line(5.81, Step("A", "activate", ok=True, signature=SIGNATURE, detail="by the creator"))
    failed = step_line(12.0, Step("", "a difference", ok=False, detail="1 and 2"))
    assert (
        click.unstyle(done)
        == "   5.8 s  ✓  A  activate                         5eykt4…dw2N9d  by the creator"
    )
    assert click.unstyle(failed) == "  12.0 s  ✗     a difference                                    1 and 2"


@pytest.mark.parametrize(
    ("differences", "said"), [(0, "Everything held. 0.0 seconds."), (2, "SOMETHING DID NOT HOLD")]
)
def test_the_verdict_is_the_last_line(differences: int, said: str) -> None:
    result = Report(FixedClock()).finish(160, Audit(4, 20, differences))
    lines = click.unstyle(verdict(result)).splitlines()
    assert said in lines[-1]
    assert f"  differences{differences:>27}" in lines
