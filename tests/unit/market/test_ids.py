from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.market import ids

SYSTEM_PROGRAM = "1" * 32


@pytest.mark.parametrize(
    ("content", "cid"),
    [
        (b"hello world\n", "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"),
        (b"", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
    ],
)
def test_a_content_id_is_the_one_that_ipfs_add_prints(content: bytes, cid: str) -> None:
    assert ids.cid_v0(content) == cid
    assert ids.is_cid_v0(cid)


@given(st.binary(max_size=3000))
def test_every_content_id_has_the_program_s_46_bytes(content: bytes) -> None:
    assert ids.is_cid_v0(ids.cid_v0(content))


@pytest.mark.parametrize(
    "text",
    ["", "1" * 31, "1" * 33, "0" * 32, "not base58 at all, is it? no!!!!", "é" * 32, "z" * 44],
)
def test_text_that_is_not_32_bytes_of_base58_is_no_address(text: str) -> None:
    assert not ids.is_address(text)


def test_the_system_program_is_an_address() -> None:
    assert ids.is_address(SYSTEM_PROGRAM)


@pytest.mark.parametrize("text", ["", "A" * 64, "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n"])
def test_only_64_lower_case_hex_digits_are_a_market_id(text: str) -> None:
    assert not ids.is_market_id(text)


def test_the_same_proposal_of_the_same_creator_gets_the_same_market_id() -> None:
    first = ids.derive_market_id("creator", "cid")
    assert ids.is_market_id(first)
    assert first == ids.derive_market_id("creator", "cid")
    assert first != ids.derive_market_id("another", "cid")
    assert first == hashlib.sha256(b"zmart-market\ncreator\ncid").hexdigest()


def test_a_masked_address_keeps_its_ends() -> None:
    assert ids.masked("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS") == "7h3g…UsJS"
