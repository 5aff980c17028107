from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from zmartd.config import COMPANIONS
from zmartd.instruction_pattern import read

PROGRAM = "L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95"
EARLIER = "L1TEVtgA75k273wWz1s6XMmDhQY5i3MwcvKb4VbZzfK"


@pytest.mark.parametrize(
    ("beginnings", "matched", "others"),
    [
        ("", ["", "00", "ff" * 40], []),
        (":none", [""], ["00", "ff"]),
        (":02", ["02", "0200ff"], ["", "01", "03", "0002"]),
        (":02-11", ["02", "0200", "0aff", "11", "11ffff"], ["", "01", "01ff", "12", "00", "ff"]),
        (":0a0b-0a0d", ["0a0b", "0a0c01", "0a0d"], ["", "0a", "0a0a", "0a0e", "0b0c"]),
        (":" + "07" * 8, ["07" * 8, "07" * 9], ["07" * 7, "07" * 7 + "08"]),
    ],
)
def test_a_pattern_means_the_data_that_begins_so(
    beginnings: str, matched: list[str], others: list[str]
) -> None:
    pattern = read(PROGRAM + beginnings)
    program = Pubkey.from_string(PROGRAM)
    assert [data for data in matched + others if pattern.matches(program, bytes.fromhex(data))] == matched
    assert not any(pattern.matches(Pubkey.new_unique(), bytes.fromhex(data)) for data in matched)


@given(st.text(max_size=60))
def test_what_is_no_pattern_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write PROGRAM, PROGRAM:HEX, PROGRAM:HEX-HEX or PROGRAM:none"):
        read(text if ":" in text else f"{PROGRAM}:{text}x")


def by_default(program: str) -> list[int]:
    """The first bytes of an instruction's data with which it may stand beside the market's by default."""
    patterns = [read(text) for text in COMPANIONS]
    return [
        first
        for first in range(256)
        if any(pattern.matches(Pubkey.from_string(program), bytes([first, 0])) for pattern in patterns)
    ]


def test_by_default_these_are_the_assertions_of_lighthouse_and_none_that_writes() -> None:
    assert by_default(PROGRAM) == list(range(2, 18))
    assert by_default(EARLIER) == list(range(2, 17))


def test_by_default_these_are_memos() -> None:
    for memo in (
        "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
        "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
    ):
        assert by_default(memo) == list(range(256))
    assert by_default("11111111111111111111111111111111") == []
