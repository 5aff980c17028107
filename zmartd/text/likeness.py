"""Which texts look the same to a reader: the skeletons of UTS 39, whatever the case, spaces and punctuation.

No maintained library on PyPI has the skeleton: they fold towards Latin letters only, or need ICU of 65 MB. So
the table is here as Unicode publishes it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache
from importlib import resources
from typing import Final

from zmartd.text.code_points import BLANK, EMOJI_MODIFIERS, IGNORABLE

TABLE: Final = "confusables.txt"

_THOUSANDS = re.compile(r"(?<=\d)[,'\u2019\u066c](?=\d{3}(?!\d))")
_FRACTION = re.compile(r"(?<=\d)[.,\u066b](?=\d)")
_SIGN = re.compile(r"(?<!\S)[-\u2010-\u2013\u2212](?=[$\u00a2-\u00a5\u20a0-\u20c0]?\d)")
_SLASH_BETWEEN_NUMBERS = re.compile(r"(?<=\d)\s*/\s*(?=\d)")
_POINT, _MINUS, _SLASH = "\ue000", "\ue001", "\ue002"
"""What stands for a decimal point, a minus sign and a slash until punctuation is gone: `readable` refuses
them."""
_SLASHES = str.maketrans(dict.fromkeys("\u2044\u2215", "/"))
_POWER = re.compile("(?<=\\d)[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_UNSEEN = IGNORABLE | EMOJI_MODIFIERS
_LINES = frozenset("\u0305\u0332\u0333\u033f")
"""Combining lines above and below."""
_OVERLAY = 1
"""The combining class of marks that are drawn across a character."""
_SPACE_BESIDE_NO_DIGITS = re.compile(r"(?<!\d) | (?!\d)")


def skeleton(text: str) -> str:
    """The skeleton of UTS 39, 4: texts that look the same have the same one. It is not for people."""
    prototypes = _prototypes()
    visible = (one for one in unicodedata.normalize("NFD", text) if one not in IGNORABLE)
    return unicodedata.normalize("NFD", "".join(prototypes.get(one, one) for one in visible))


def likeness(text: str) -> tuple[bytes, bytes]:
    """Two hashes, of 32 bytes each. Two texts ask the same when they have one of them in common.

    The first finds letters that look the same as written, such as a capital Eta and an H; the second finds
    texts in another case, such as that Eta and a small one, which is like an n. Both leave out spaces,
    punctuation, and what is drawn across, around, over or under letters and digits, but not the sign, the
    point and the power of a number, nor a slash, except between digits, where all that parts numbers is the
    same. Digits of all scripts count as their values, and i, l and 1 as one
    letter.
    """
    words = _words(text)
    written = skeleton(words).casefold()
    in_any_case = skeleton(words.casefold()).casefold()
    return _hash(written), _hash(in_any_case)


def _words(text: str) -> str:
    text = "".join(" " if one in BLANK else one for one in text if one not in _UNSEEN)
    text = _undecorated(unicodedata.normalize("NFKC", _POWER.sub(r"^\g<0>", text)))
    text = "".join(map(_digit, text))
    text = _FRACTION.sub(_POINT, _THOUSANDS.sub("", text))
    text = _SLASH_BETWEEN_NUMBERS.sub(" ", _SIGN.sub(_MINUS, text.translate(_SLASHES)))
    text = "".join(map(_without_punctuation, text.replace("/", _SLASH)))
    return _SPACE_BESIDE_NO_DIGITS.sub("", " ".join(text.split()))


def _undecorated(text: str) -> str:
    """Without overlays and lines on letters and digits. On symbols they have a meaning: \u2260 is not =."""
    kept: list[str] = []
    is_decorated = False
    for one in text:
        kind = unicodedata.category(one)
        if kind[0] != "M":
            is_decorated = kind[0] in "LN"
        elif is_decorated and (kind == "Me" or unicodedata.combining(one) == _OVERLAY or one in _LINES):
            continue
        kept.append(one)
    return "".join(kept)


def _digit(one: str) -> str:
    value = unicodedata.decimal(one, None)
    return one if value is None else str(value)


def _without_punctuation(one: str) -> str:
    return " " if unicodedata.category(one)[0] == "P" and one != "%" else one


def _hash(folded: str) -> bytes:
    """Of the skeleton once more: the first one has capitals, whose small forms look like other letters."""
    alike = _undecorated(skeleton(folded).casefold()).replace("i", "l")
    return hashlib.sha256(alike.encode()).digest()


@cache
def _prototypes() -> dict[str, str]:
    lines = (resources.files(__package__) / TABLE).read_text(encoding="utf-8").splitlines()
    pairs = (line.split(";") for line in lines if not line.startswith("#"))
    return {chr(int(source, 16)): _from_hex(target) for source, target in pairs}


def _from_hex(codes: str) -> str:
    return "".join(chr(int(code, 16)) for code in codes.split())
