"""Texts as their readers see them: normalized, and without what cannot be seen and changes nothing."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Self

from zmartd.text.code_points import (
    BLANK,
    DIRECTION_MARKS,
    IGNORABLE,
    OVERRIDES,
    PICTOGRAPHS,
    SHAPED,
    UNSPACED,
    within,
)

MAX_MARKS: Final = 16
"""Combining marks on one character. More hide the lines around them, and take quadratic time to normalize."""

_LAYOUT = frozenset("\n\r\t")
_BREAKS = _LAYOUT | frozenset("\u2028\u2029")
_ZERO_WIDTH_SPACE = "\u200b"
_NON_JOINER, _JOINER = "\u200c", "\u200d"
_MONGOLIAN_SELECTORS = frozenset("\u180b\u180c\u180d\u180e\u180f")
_EMOJI_SELECTORS = frozenset("\ufe0e\ufe0f")
_KEYCAP = "\u20e3"
_KEYS = frozenset("0123456789#*")
_INFORMATION = "\u2139"
"""The one letter that has an emoji."""
_END_OF_TAGS = "\U000e007f"
_TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
"""The flag of a part of a country, as of Scotland: a black flag and the code of the part in tags (UTS 51)."""


class Unreadable(ValueError):
    """A text that readers would see wrongly or not at all. Its message says why, and what to do."""

    @classmethod
    def at(cls, place: int, one: str, why: str) -> Self:
        """The error for the character `one` at `place`, an index of the text."""
        return cls(f"U+{ord(one):04X}, character {place + 1} of the text, {why}")


def readable(raw: str) -> str:
    """The text without white space around it, in NFC, and without invisible characters.

    Invisible characters stay where they decide how others look: joiners in emoji and in scripts that shape
    letters, variation selectors, direction marks in texts from right to left. Code points that are newer than
    Python's tables stay as well. Raises Unreadable for a text of which nothing can be seen, for one that
    overrides its direction, and for control characters and code points without a meaning; those are named
    with their position, counted from 1.
    """
    _refuse(raw)
    text = raw.strip()
    if text.isascii():
        return text
    kept = unicodedata.normalize("NFC", _without_invisible(text)).strip()
    if text and not any(map(_is_visible, kept)):
        raise Unreadable("nothing in it can be seen; write letters, digits or symbols")
    return kept


def readable_line(raw: str) -> str:
    """As `readable`, for a text on one line. Raises Unreadable for line breaks and tabs in it as well."""
    text = readable(raw)
    if _BREAKS.isdisjoint(text):
        return text
    first = len(raw) - len(raw.lstrip())
    place, one = next((place, one) for place, one in enumerate(raw) if place > first and one in _BREAKS)
    raise Unreadable.at(place, one, "is a line break or a tab; write the text on one line")


def _refuse(text: str) -> None:
    marks = 0
    for place, one in enumerate(text):
        if one < "\x7f":
            marks = 0
            if one >= " " or one in _LAYOUT:
                continue
        kind = unicodedata.category(one)
        if one in OVERRIDES:
            raise Unreadable.at(place, one, "overrides the direction of the text around it; remove it")
        if kind == "Cc":
            raise Unreadable.at(place, one, "is a control character; remove it")
        if kind == "Cs":
            raise Unreadable.at(place, one, "is half a character; remove it")
        if kind == "Co" or _is_noncharacter(one):
            raise Unreadable.at(place, one, "has no meaning for others; remove it")
        marks = marks + 1 if kind[0] == "M" else 0
        if marks > MAX_MARKS:
            raise Unreadable.at(
                place, one, f"is one of more than {MAX_MARKS} combining marks on one character; remove some"
            )


def _without_invisible(text: str) -> str:
    if not IGNORABLE.intersection(text):
        return text
    flags = {place for flag in _TAGGED_FLAG.finditer(text) for place in range(*flag.span())}
    is_from_right = any(unicodedata.bidirectional(one) in {"R", "AL"} for one in {*text} - DIRECTION_MARKS)
    kept: list[str] = []
    for place, one in enumerate(text):
        if one not in IGNORABLE or place in flags:
            kept.append(one)
        elif one in DIRECTION_MARKS:
            kept += [one] if is_from_right and kept[-1:] != [one] else []
        elif kept and _changes(one, kept[-1], text[place + 1 : place + 2]):
            kept.append(one)
    return "".join(kept)


def _changes(invisible: str, before: str, after: str) -> bool:
    """Whether an invisible character decides how the characters around it look; `after` may be empty."""
    if invisible in _EMOJI_SELECTORS:
        if before in _KEYS:
            return after == _KEYCAP
        return before == _INFORMATION or unicodedata.category(before)[0] in "SP"
    if invisible == _JOINER and _ends_pictograph(before):
        return after != "" and within(after, PICTOGRAPHS)
    if before in IGNORABLE:
        return False
    if invisible in {_JOINER, _NON_JOINER} or invisible in _MONGOLIAN_SELECTORS:
        return within(before, SHAPED)
    if invisible == _ZERO_WIDTH_SPACE:
        return within(before, UNSPACED)
    if unicodedata.name(invisible, "").startswith("VARIATION SELECTOR"):
        return unicodedata.category(before) in {"Lo", "Sm"}
    return False


def _ends_pictograph(one: str) -> bool:
    return one in _EMOJI_SELECTORS or one == _END_OF_TAGS or within(one, PICTOGRAPHS)


def _is_visible(one: str) -> bool:
    kind = unicodedata.category(one)
    return (kind[0] in "LNPS" or kind == "Cn") and one not in IGNORABLE and one not in BLANK


def _is_noncharacter(one: str) -> bool:
    return ord(one) & 0xFFFE == 0xFFFE or "\ufdd0" <= one <= "\ufdef"
