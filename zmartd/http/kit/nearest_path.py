"""The path that a request with a wrong one probably meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from zmartd.http.kit.names import nearest

_MAX_PARTS: Final = 8
"""No path has more; longer ones are not looked at."""
_MAX_LENGTH_DIFFERENCE: Final = 2
_PREFIX: Final = "api"
"""What clients forget first."""


def nearest_path(path: str, known: tuple[str, ...]) -> str | None:
    """The one of `known`, which may have variables as in `/api/markets/{id}`, that `path` is nearly.

    At most one part differs, is similar to the right one and begins like it; and `/api` may be missing.
    """
    parts = path.split("/", _MAX_PARTS + 1)[1:]
    if not any(parts) or len(parts) > _MAX_PARTS:
        return None
    meant: dict[tuple[str, str], str] = {}
    by_length = _by_length(known)
    for given in (parts, [_PREFIX, *parts]):
        for template, wanted in by_length.get(len(given), ()):
            wrong = [pair for pair in zip(given, wanted, strict=True) if not _fits(*pair)]
            if not wrong:
                return template
            if len(wrong) == 1 and _may_be_meant(*wrong[0]):
                meant.setdefault(wrong[0], template)
    return next((template for (one, right), template in meant.items() if nearest(one, (right,))), None)


@lru_cache(maxsize=4)
def _by_length(known: tuple[str, ...]) -> Mapping[int, Sequence[tuple[str, list[str]]]]:
    """Paths with their parts, by the number of these."""
    found: defaultdict[int, list[tuple[str, list[str]]]] = defaultdict(list)
    for template in known:
        parts = template.split("/")[1:]
        found[len(parts)].append((template, parts))
    return found


def _may_be_meant(given: str, wanted: str) -> bool:
    """Spares comparisons, which cost more: anybody can ask for any number of wrong paths."""
    is_as_long = abs(len(given) - len(wanted)) <= _MAX_LENGTH_DIFFERENCE
    return is_as_long and given[:1].lower() == wanted[:1]


def _fits(given: str, wanted: str) -> bool:
    return given == wanted or (wanted.startswith("{") and given != "")
