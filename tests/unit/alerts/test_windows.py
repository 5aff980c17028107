from __future__ import annotations

import pytest

from zmartd.alerts.vitals import skew
from zmartd.alerts.windows import Window


def test_growth_is_counted_from_the_newest_sample_before_the_window() -> None:
    window = Window(10)
    assert (window.growth("n"), window.first("n"), window.most("n")) == (0, 0, 0)
    for at, number in ((0, 100), (5, 110), (10, 130)):
        window.add(at, {"n": number})
    assert window.growth("n") == 30
    window.add(15, {"n": 130})
    assert (window.growth("n"), window.first("n")) == (20, 110)
    window.add(100, {"n": 131})
    assert window.growth("n") == 1


def test_the_greatest_sample_leaves_with_the_window() -> None:
    window = Window(10)
    for at, lag in ((0, 3.0), (5, 0.1), (10, 0.2), (15, 0.1)):
        window.add(at, {"lag": lag})
    assert window.most("lag") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("asked_at", "took", "answer", "ahead"),
    [(10.0, 2.0, 11.0, 0.0), (10.0, 2.0, 10.0, 0.0), (15.0, 2.0, 11.0, 4.0), (5.0, 2.0, 11.0, -4.0)],
)
def test_a_clock_is_wrong_only_by_what_the_question_does_not_explain(
    asked_at: float, took: float, answer: float, ahead: float
) -> None:
    assert skew(asked_at, took, answer) == pytest.approx(ahead)
