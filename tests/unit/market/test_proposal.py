from __future__ import annotations

from datetime import UTC, datetime

import pytest

from zmartd.http.kit.fields import Text
from zmartd.market import ids
from zmartd.market.lmsr import MIN_B, SCALE
from zmartd.market.proposal import Proposal, largest_covered_b, max_loss_lamports

PROPOSAL = Proposal(
    question="Will it rain in Zürich tomorrow?",
    description="",
    category="science",
    tags=("weather", "zurich"),
    end_date=datetime(2027, 1, 31, 12, tzinfo=UTC),
)


def test_a_proposals_document_is_canonical_json() -> None:
    assert PROPOSAL.document().decode() == (
        '{"category":"science","description":"","end_date":"2027-01-31T12:00:00.000Z",'
        '"question":"Will it rain in Zürich tomorrow?","tags":["weather","zurich"]}'
    )
    assert PROPOSAL.cid() == ids.cid_v0(PROPOSAL.document())


@pytest.mark.parametrize("liquidity_lamports", [70 * SCALE, 100 * SCALE, 69_314_718_100])
def test_the_default_b_is_the_largest_whose_loss_is_covered(liquidity_lamports: int) -> None:
    b = largest_covered_b(liquidity_lamports)
    assert max_loss_lamports(b) <= liquidity_lamports < max_loss_lamports(b + 2)


def test_little_liquidity_gets_the_smallest_b_that_the_program_accepts() -> None:
    assert largest_covered_b(SCALE // 10) == MIN_B
    assert max_loss_lamports(MIN_B) == 69_314_718_100


class Line(Text):
    min_length, max_length = 2, 5


def test_a_text_is_trimmed_and_measured_in_characters() -> None:
    assert Line.parse("  ab\n") == "ab"
    assert Line.parse("äöüßé") == "äöüßé"
    for text in ("a", "    a    ", "abcdef", "ab\x00", "ab\x1b[", "a\ud800b", 12, None):
        with pytest.raises(ValueError):  # noqa: PT011 - any refusal will do
            Line.parse(text)
