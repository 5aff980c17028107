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


BLOCK = 262_144
MANY_BLOCKS = {
    1: "QmS9JArPwa55ePgDnyg6TzX24mYTS1b1vLqWNebyVotKxQ",
    BLOCK - 1: "QmUoTz8e7GPAw1C2CMyV6GGQQrnkBRbYwAc33SVCiCpLhF",
    BLOCK: "QmVbyTtRchyNZkRsWkiziBVAm2vnpRtZ5cE5mKHF1LSFaQ",
    BLOCK + 1: "QmSFWCg3seR5g46bFsSPPA9mScuR4ra4qivo7GQvwvM6kP",
    2 * BLOCK: "QmNPm95PkVyWqFu8sC2XNDbFbfte7PnYCS6yG82NtPZCii",
    2 * BLOCK + 5: "QmT5ZM8LpketZNJwo2Nj9vawBhn5eqyCDgjqfdnTtuNdvz",
    174 * BLOCK: "QmWh1SJ9uPmyg8bhCfsg6GDhfEi5EqkiyhhrU62suc5dp4",
    174 * BLOCK + 1: "QmXzvqCfDX7W9yM8AFXU5Fb5A4EzZo6KqFCqbpcEMCV647",
    350 * BLOCK: "Qma98xHBLUW1fCqsdmiswM7sXT7GFyMhfTX8xULJhmpmk8",
}
"""By size, what npm's ipfs-unixfs-importer 17.1.1 gives with Kubo's defaults for version 0: chunks of a fixed
size of 262144 bytes, no raw leaves, a balanced layout with 174 children of a node."""


@pytest.mark.parametrize("size", MANY_BLOCKS)
def test_a_file_of_many_blocks_has_the_content_id_that_others_give_it(size: int) -> None:
    pattern = bytes((number * 31 + (number >> 8) * 17) & 255 for number in range(65_536))
    assert ids.cid_v0((pattern * (size // len(pattern) + 1))[:size]) == MANY_BLOCKS[size]


def test_a_content_id_of_version_1_names_the_same_block() -> None:
    of_hello = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
    newer = ids.cid_v1("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH")
    assert newer == "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y"
    assert ids.as_cid_v0(newer) == "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
    assert ids.as_cid_v0(of_hello) == ids.as_cid_v0(ids.cid_v1(of_hello)) == of_hello


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Qm" + "0" * 44,
        "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        "BAFYBEIF7ZTNHQ65LUMVVTR4EKCWD2IFWGM3AWQ4ZFR3SRH462RWYINLB4Y",
        "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4z",
        "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4",
    ],
)
def test_what_names_no_dag_pb_block_has_no_content_id_of_version_0(text: str) -> None:
    with pytest.raises(ValueError, match="not the content id"):
        ids.as_cid_v0(text)


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
