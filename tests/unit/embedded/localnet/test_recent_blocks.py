import hashlib

import pytest
from solders.hash import Hash

from zmartd.embedded.localnet.chain.blocks import SLOT_HASHES, RecentBlocks, blockhash_blocks
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.records import Block


def blockhash(height: int) -> Hash:
    return Hash(hashlib.sha256(height.to_bytes(8, "little")).digest())


def chain_of(heights: int, slots_per_block: int = 1, valid_blocks: int = 150) -> RecentBlocks:
    """Blocks of heights 0 to `heights`, the last one open."""
    blocks = RecentBlocks([Block(0, 0, 0, blockhash(0))], Block(slots_per_block, 1, 0, None), valid_blocks)
    for height in range(1, heights):
        blocks.complete(blockhash(height), Block((height + 1) * slots_per_block, height + 1, 0, None))
    return blocks


def test_a_block_is_final_under_31_others() -> None:
    assert chain_of(31).finalized.height == 0
    assert chain_of(32).finalized.height == 0
    assert chain_of(33).finalized.height == 1
    assert [chain_of(33).commitment_of(slot) for slot in (1, 2, 32, 33)] == [
        Commitment.FINALIZED,
        Commitment.CONFIRMED,
        Commitment.CONFIRMED,
        Commitment.PROCESSED,
    ]


def test_skipped_slots_make_nothing_final_and_no_blockhash_old() -> None:
    blocks = chain_of(33, slots_per_block=1_000)
    assert blocks.finalized.slot == 1_000
    assert blocks.is_alive(blockhash(0))


def test_a_blockhash_lives_150_blocks() -> None:
    assert chain_of(150).is_alive(blockhash(0))
    assert not chain_of(151).is_alive(blockhash(0))


@pytest.mark.parametrize(
    ("slot_milliseconds", "blocks"), [(400, 150), (10_000, 150), (50, 1_200), (20, 3_000)]
)
def test_however_short_the_slots_a_blockhash_lives_a_minute(slot_milliseconds: int, blocks: int) -> None:
    assert blockhash_blocks(slot_milliseconds) == blocks
    assert chain_of(blocks, valid_blocks=blocks).is_alive(blockhash(0))
    assert not chain_of(blocks + 1, valid_blocks=blocks).is_alive(blockhash(0))
    assert chain_of(blocks + 31, valid_blocks=blocks).is_alive(blockhash(0), Commitment.FINALIZED)


def test_the_height_that_comes_with_a_blockhash_is_the_last_one_that_takes_it() -> None:
    blocks = chain_of(10)
    chosen, last_valid_block_height = blocks.latest_blockhash(Commitment.CONFIRMED)
    assert chosen == blockhash(9)
    assert chain_of(last_valid_block_height).is_alive(chosen)
    assert not chain_of(last_valid_block_height + 1).is_alive(chosen)


def test_a_final_view_does_not_know_newer_blockhashes() -> None:
    blocks = chain_of(50)
    assert blocks.is_alive(blockhash(49), Commitment.CONFIRMED)
    assert not blocks.is_alive(blockhash(49), Commitment.FINALIZED)
    assert blocks.latest_blockhash(Commitment.FINALIZED)[0] == blockhash(18)


def test_what_is_remembered_is_bounded() -> None:
    blocks = chain_of(3 * SLOT_HASHES)
    assert len(blocks.slot_hashes()) == SLOT_HASHES
    assert blocks.slot_hashes()[0] == (3 * SLOT_HASHES - 1, blockhash(3 * SLOT_HASHES - 1))
    assert not blocks.is_alive(blockhash(0))
