"""Which metrics and labels an expression of PromQL names, compared with those that there are.

promtool says whether an expression is PromQL at all; nothing says whether its metrics exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.metric_catalogue import declared

TARGET_LABELS = {"instance", "job"}
"""What Prometheus adds to each series."""

_KEYWORDS = {"and", "or", "unless", "bool"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_SELECTOR = re.compile(r"(?<![\w.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(\s*\()?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def known_series() -> dict[str, set[str]]:
    """The labels of each series that a daemon shows, by its name, with what Prometheus adds."""
    known = {"up": set(TARGET_LABELS)}
    for one in declared():
        for name in one.series:
            own = {"le"} if name.endswith("_bucket") else set()
            known[name] = {*one.labels, *own, *TARGET_LABELS}
    return known


def unknown_in(expression: str, known: dict[str, set[str]]) -> list[str]:
    """What the expression names and what there is not, in words."""
    bare = _STRING.sub('""', expression)
    groupings = _GROUPING.findall(bare)
    found = list(_selectors(_RANGE.sub("", _GROUPING.sub("", bare))))
    assert found, f"no metric in {expression}"
    unknown = [f"metric {name}" for name, _ in found if name not in known]
    labels = set[str]().union(*(known.get(name, set()) for name, _ in found))
    for name, wanted in found:
        unknown += [f"label {label} of {name}" for label in sorted(wanted - known.get(name, set()))]
    grouped = {label.strip() for group in groupings for label in group.split(",") if label.strip()}
    return unknown + [f"label {label}" for label in sorted(grouped - labels)]


def _selectors(bare: str) -> Iterator[tuple[str, set[str]]]:
    for name, matchers, called in _SELECTOR.findall(bare):
        if not called and name not in _KEYWORDS:
            yield name, set(_LABEL.findall(matchers))
