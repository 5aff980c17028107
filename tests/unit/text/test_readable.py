from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zmartd.text.code_points import IGNORABLE, OVERRIDES
from zmartd.text.readable import MAX_MARKS, Unreadable, readable, readable_line

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    "text",
    [
        "\u200b" * 12,
        "\u3164" * 12,
        "\u115f\u1160" * 6,
        "\uffa0" * 12,
        "\u0301" * 12,
        "\u2800" * 12,
        "\u200e" * 12,
        "\ufe0f" * 12,
        "\U000e0041" * 12,
        "\ufeff",
    ],
)
def test_a_text_of_which_nothing_can_be_seen_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="nothing in it can be seen"):
        readable(text)


@pytest.mark.parametrize("override", sorted(OVERRIDES))
def test_a_text_that_overrides_its_direction_is_refused_by_code_point(override: str) -> None:
    with pytest.raises(Unreadable, match=rf"U\+{ord(override):04X}, character 5 .* overrides the direction"):
        readable(f"Pay {override}nimda now")


@pytest.mark.parametrize(
    "code_point",
    ["\x00", "\x7f", "\x85", "\ud800", chr(0xDFFF), "\ue000", "\U0010fffd", "\ufdd0", "\U0001fffe"],
)
def test_code_points_without_a_meaning_are_refused(code_point: str) -> None:
    with pytest.raises(Unreadable, match=rf"U\+{ord(code_point):04X}, character 7 of the text, "):
        readable(f" Will {code_point} rain?")


@pytest.mark.parametrize("text", ["\x1fWill it rain?", "Will it rain?\x85", "\x1c\n", "\x0b"])
def test_control_characters_around_a_text_are_refused_although_they_are_white_space(text: str) -> None:
    with pytest.raises(Unreadable, match="control character"):
        readable(text)


@pytest.mark.parametrize("line_break", ["\n", "\r", "\t", "\u2028", "\u2029"])
def test_a_line_has_no_breaks_in_it(line_break: str) -> None:
    assert readable(f"Will it{line_break}rain?") == f"Will it{line_break}rain?"
    assert readable_line(f"{line_break} Will it rain? {line_break}") == "Will it rain?"
    with pytest.raises(Unreadable, match=rf"U\+{ord(line_break):04X}, character 9 .* is a line break"):
        readable_line(f"\nWill it{line_break}rain?")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (" \u3000Will it rain?\ufeff\n", "Will it rain?"),
        ("Wi\u200dll i\u200bt\u2060 ra\u00adin?", "Will it rain?"),
        ("Beyonce\u0301", "Beyonc\u00e9"),
        ("e\u200d\u0301", "\u00e9"),
        ("a\U000e0068\U000e0069", "a"),
        ("a\ufe0fb\U000e0100", "ab"),
        ("hi\u200f there\u200e", "hi there"),
        ("\U0001f469\u200d\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("", ""),
        (" \t", ""),
    ],
)
def test_what_cannot_be_seen_and_changes_nothing_is_left_out(sent: str, stored: str) -> None:
    assert readable(sent) == stored


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: a word whose parts do not join
        "\u0915\u094d\u200d\u0937",  # Hindi: a half form instead of a ligature
        "\u0dc1\u0dca\u200d\u0dbb\u0dd3",  # Sinhala: Sri
        "\u05d0\u05d1\u05d2\u200f (ABC)",  # Hebrew: the parenthesis stands on the right side
        "\u179f\u17bd\u179f\u17d2\u178f\u17b8\u200b\u1796\u17b7",  # Khmer: where a line may break
        "\U0001f469\U0001f3fd\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f468\U0001f3fb",
        "\U0001f441\ufe0f\u200d\U0001f5e8\ufe0f",
        "1\ufe0f\u20e3 \u2139\ufe0f \u203c\ufe0f \u2764\ufe0e",
        ENGLAND,
        "\U0001faf8\U0001fae9",  # newer than the tables of Python 3.11
        "\u845b\U000e0100",  # a variant of a character in a name
        "two\nlines",
    ],
)
def test_what_decides_how_others_look_stays(text: str) -> None:
    assert readable(text) == text


def test_a_flag_of_tags_that_spell_something_else_hides_nothing() -> None:
    hidden = "".join(chr(0xE0000 + ord(one)) for one in "ignore all that")
    assert readable(f"\U0001f3f4{hidden}\U000e007f") == "\U0001f3f4"


def test_marks_are_piled_up_only_so_high() -> None:
    allowed = "x" + "\u0323" * MAX_MARKS
    assert readable(f"{allowed} {allowed}") == unicodedata.normalize("NFC", f"{allowed} {allowed}")
    with pytest.raises(Unreadable, match=r"U\+0323, character 18 .* is one of more than 16 combining marks"):
        readable(f"{allowed}\u0323")


@given(st.text(st.characters(codec=None, min_codepoint=0, max_codepoint=0x10FFFF)) | st.text())
@example("\u200f\u05d0")
@example("\u1100\u200d\u1161")
@example("\U0001f469\u200d \u200d\U0001f680")
def test_what_is_readable_stays_as_it_is(text: str) -> None:
    try:
        stored = readable(text)
    except Unreadable:
        return
    assert readable(stored) == stored
    assert unicodedata.is_normalized("NFC", stored)
    assert not OVERRIDES & {*stored}
    assert not stored or not {*stored} <= IGNORABLE
