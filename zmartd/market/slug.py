"""A market's question as a part of a URL."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_LENGTH: Final = 80
NAMELESS: Final = "market"
"""Of a question without a Latin letter or a digit."""

_LETTERS: Final = str.maketrans(
    {
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "\u0131": "i",
        "'": "",
        "\u2019": "",
    }
)
_OTHERS = re.compile("[^a-z0-9]+")


def slug_base(question: str) -> str:
    """`question` in lower-case ASCII with hyphens, whole words of at most MAX_LENGTH characters.

    Accents are left out, and so is what has no Latin letter.
    """
    letters = _caseless(question).translate(_LETTERS)
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    slug = _OTHERS.sub("-", plain).strip("-")
    if len(slug) > MAX_LENGTH:
        slug = slug[: MAX_LENGTH + 1].rpartition("-")[0] or slug[:MAX_LENGTH]
    return slug.strip("-") or NAMELESS


def _caseless(text: str) -> str:
    """What compatibility caseless matching compares (Unicode, section 3.13, D146).

    Decomposing brings capitals that were not there, so it is folded again.
    """
    for form in ("NFD", "NFKD"):
        text = unicodedata.normalize(form, text).casefold()
    return unicodedata.normalize("NFKD", text)
