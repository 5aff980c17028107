"""Properties of code points that `unicodedata` does not have, from the data files of Unicode 17.0.0."""

from __future__ import annotations

from collections.abc import Iterable


def _characters(*ranges: tuple[int, int]) -> frozenset[str]:
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


def within(character: str, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether a character is in one of the ranges, ends included."""
    code = ord(character)
    return any(first <= code <= last for first, last in ranges)


IGNORABLE = _characters(
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
"""Default_Ignorable_Code_Point (DerivedCoreProperties.txt): a reader sees nothing of them by themselves."""

BLANK = frozenset("\u2800\ufffc\U00013441\U00013442\U00016fe4\U0001d159")
"""Of these nothing is drawn either: a braille cell without dots, the place of an object, blanks of
hieroglyphs and of Khitan, a note without a head. White space and IGNORABLE are not among them."""

EMOJI_MODIFIERS = _characters((0x1F3FB, 0x1F3FF))
"""Emoji_Modifier (emoji-data.txt): the skin tones."""

OVERRIDES = _characters((0x202A, 0x202E), (0x2066, 0x2069))
"""What embeds, overrides or isolates the direction of what follows (UAX 9, 2.1 to 2.5)."""

DIRECTION_MARKS = frozenset("\u200e\u200f\u061c")
"""The invisible marks of UAX 9, 2.6, which people who write from right to left type."""

SHAPED = (
    (0x0600, 0x0DFF),  # Arabic, Syriac, Thaana, N'Ko, and the scripts of India
    (0x0F00, 0x109F),  # Tibetan, Myanmar
    (0x1780, 0x18AF),  # Khmer, Mongolian
    (0xA840, 0xA8FF),
    (0xA980, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xABC0, 0xABFF),
    (0xFB50, 0xFDFF),
    (0xFE70, 0xFEFE),
    (0x10A00, 0x11FFF),  # the other Brahmic scripts
    (0x1E900, 0x1E95F),  # Adlam
)
"""Blocks of scripts in which a joiner decides the shape of a letter (UAX 31, 2.3)."""

UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1980, 0x19DF))
"""Blocks of scripts that part words with a space of no width."""

PICTOGRAPHS = ((0x2190, 0x2BFF), (0x3030, 0x303D), (0x3297, 0x3299), (0x1F000, 0x1FBFF))
"""Blocks with all emoji that can be parts of others, also with those that Python does not know yet."""
