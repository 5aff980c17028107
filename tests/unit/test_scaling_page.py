"""docs/scaling.md calculates with what docs/performance.md has measured, and calculates right."""

from __future__ import annotations

import re
from math import isclose
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "scaling.md").read_text()
MEASURED = (DOCS / "performance.md").read_text()

TIMES = "\N{MULTIPLICATION SIGN}"
_NUMBER = r"\d{1,3}(?: \d{3})+|\d+(?:\.\d+)?"
_EQUATION = re.compile(rf"((?:{_NUMBER})(?: [{TIMES}/] (?:{_NUMBER}))+) = ({_NUMBER})")
EQUATIONS = _EQUATION.findall(" ".join(PAGE.split("\n")))
_UNIT = "requests/s|events/s|deliveries/s|transactions/s|µs|of a core|KiB|/s"
FIGURES = re.findall(rf"^\| ([^|]+) \| ({_NUMBER}) ?(?:{_UNIT}) \| (\w[\w ]+) \|$", PAGE, re.MULTILINE)


def value(number: str) -> float:
    return float(number.replace(" ", ""))


def result(expression: str) -> float:
    """Of multiplications and divisions, from the left to the right."""
    first, *rest = re.split(rf" ([{TIMES}/]) ", expression)
    found = value(first)
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        found = found * value(number) if sign == TIMES else found / value(number)
    return found


def test_every_figure_is_one_that_was_measured_in_that_chapter() -> None:
    rows = PAGE[PAGE.index("| what | measured |") : PAGE.index("Not measured there")].count("\n| ")
    assert len(FIGURES) == rows
    for what, figure, chapter in FIGURES:
        start = MEASURED.index(f"## {chapter}\n")
        end = MEASURED.find("\n## ", start + 1)
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", MEASURED[start:end]), what


@pytest.mark.parametrize(("expression", "said"), EQUATIONS)
def test_every_equation_is_right(expression: str, said: str) -> None:
    decimals = len(said.partition(".")[2])
    assert isclose(round(result(expression), decimals), value(said)), result(expression)


def test_the_sum_is_that_of_the_table() -> None:
    cores = [float(one) for one in re.findall(r"^\|.*= [\d. ]+ \| ([\d.]+) \|$", PAGE, re.MULTILINE)]
    assert len(EQUATIONS) > 15
    assert f"Together {sum(cores):.2f} of a core" in PAGE
