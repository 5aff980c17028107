"""What the audit compares: the API's own JSON of a market against account data, decoded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.embedded.demo.audited_market import ACCOUNT, POSITIONS, WALLET, published, shown_positions
from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.embedded.demo.comparison import Mismatch, compare_market, compare_positions, compare_sets
from zmartd.market.lifecycle import MarketState


def decoded(**changes: Any) -> MarketAccount:
    """The account after these changes, as read back from its bytes."""
    return MarketAccount.decode(msgspec.structs.replace(ACCOUNT, **changes).encode() + bytes(40))


def fields_that_differ(found: list[Mismatch]) -> set[str]:
    return {difference.field for difference in found}


def test_a_market_that_is_shown_as_it_is_does_not_differ() -> None:
    assert compare_market(published(), decoded(), POSITIONS) == []


@pytest.mark.parametrize(
    ("field", "value", "noticed"),
    [
        ("market_id", bytes([9] * 32), {"id"}),
        ("creator", WALLET, {"creator_wallet"}),
        ("resolver", WALLET, {"resolver_wallet"}),
        ("state", MarketState.DISPUTED, {"state", "state_code"}),
        ("b_parameter", ACCOUNT.b_parameter + 1, {"b_parameter"}),
        ("initial_liquidity", ACCOUNT.initial_liquidity + 1, {"initial_liquidity"}),
        ("current_liquidity", ACCOUNT.current_liquidity - 1, {"current_liquidity"}),
        ("shares_yes", ACCOUNT.shares_yes + 1, {"shares_yes"}),
        ("shares_no", ACCOUNT.shares_no + 1, {"shares_no"}),
        ("shares_yes", ACCOUNT.shares_yes + 10**9, {"shares_yes", "price_yes", "price_no", "last price"}),
        ("total_volume", ACCOUNT.total_volume + 1, {"total_volume"}),
        ("accumulated_protocol_fees", ACCOUNT.accumulated_protocol_fees + 1, {"protocol fees"}),
        ("proposed_outcome", None, {"proposed_outcome"}),
        ("final_outcome", False, {"final_outcome"}),
        ("was_disputed", False, {"was_disputed"}),
        ("proposal_likes", ACCOUNT.proposal_likes + 1, {"proposal_likes"}),
        ("proposal_dislikes", ACCOUNT.proposal_dislikes + 1, {"proposal_dislikes"}),
        ("proposal_total_votes", ACCOUNT.proposal_total_votes + 1, {"proposal_total_votes"}),
        ("dispute_agree", ACCOUNT.dispute_agree + 1, {"dispute_agree"}),
        ("dispute_disagree", ACCOUNT.dispute_disagree + 1, {"dispute_disagree"}),
        ("dispute_total_votes", ACCOUNT.dispute_total_votes + 1, {"dispute_total_votes"}),
        ("created_at", ACCOUNT.created_at + 1, {"created_at"}),
        ("approved_at", ACCOUNT.approved_at + 1, {"approved_at"}),
        ("activated_at", 0, {"activated_at"}),
        ("resolution_proposed_at", ACCOUNT.resolution_proposed_at + 1, {"resolution_proposed_at"}),
        ("dispute_initiated_at", 0, {"dispute_initiated_at"}),
        ("finalized_at", ACCOUNT.finalized_at + 1, {"finalized_at"}),
        ("cancelled_at", 1, {"cancelled_at"}),
        ("ipfs_evidence_hash", b"Qm" + b"z" * 44, {"evidence_cid"}),
    ],
)
def test_one_unit_of_difference_is_noticed(field: str, value: Any, noticed: set[str]) -> None:
    # Other shares may mean another price, too.
    found = fields_that_differ(compare_market(published(), decoded(**{field: value}), POSITIONS))
    assert noticed <= found <= noticed | {"price_yes", "price_no", "last price"}


def test_before_a_resolution_the_account_holds_the_question_s_content_id() -> None:
    account = decoded(ipfs_evidence_hash=b"Qm" + b"q" * 44, resolution_proposed_at=0)
    shown = published(resolution_proposed_at=None)
    assert compare_market(shown, account, POSITIONS) == []


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ({"trades": published().trades[:1]}, {"trades", "total_volume", "protocol fees"}),
        ({"statistics": {"trades_count": 3, "total_volume": "3000000"}}, {"trades"}),
        ({"statistics": {"trades_count": 2, "total_volume": "3000001"}}, {"total_volume"}),
        ({"prices": [{"price_yes": 0.5}]}, {"last price"}),
    ],
)
def test_trades_statistics_and_history_are_held_to_the_account_as_well(
    change: dict[str, Any], noticed: set[str]
) -> None:
    shown = msgspec.structs.replace(published(), **change)
    assert fields_that_differ(compare_market(shown, decoded(), POSITIONS)) == noticed


def test_positions_that_are_shown_as_they_are_do_not_differ() -> None:
    assert compare_positions(str(WALLET), shown_positions(), on_chain(POSITIONS[0]), markets()) == []


@pytest.mark.parametrize(
    ("field", "value", "noticed"),
    [
        ("shares_yes", 1, "shares_yes"),
        ("shares_no", 1, "shares_no"),
        ("total_invested", 1, "total_invested"),
        ("trades_count", 9, "trades_count"),
        ("has_claimed", False, "has_claimed"),
        ("claimed_amount", 1, "claimed_amount"),
        ("reserved", bytes(64), "total_returned"),
    ],
)
def test_one_unit_of_a_position_is_noticed(field: str, value: Any, noticed: str) -> None:
    position = msgspec.structs.replace(POSITIONS[0], **{field: value})
    (difference,) = compare_positions(str(WALLET), shown_positions(), on_chain(position), markets())
    assert difference.field == noticed
    assert f"{noticed} is {shown_positions()[0][noticed]!r} in the API" in str(difference)


def test_a_position_that_only_one_side_has_is_a_difference() -> None:
    (hidden,) = compare_positions(str(WALLET), [], on_chain(POSITIONS[0]), markets())
    assert (hidden.shown, hidden.on_chain) == (False, True)
    (invented,) = compare_positions(str(WALLET), shown_positions(), {}, markets())
    assert (invented.shown, invented.on_chain) == (True, False)


def test_sets_are_compared_whatever_their_order() -> None:
    assert compare_sets("letters", "ab", "ba") == []
    assert compare_sets("letters", "ab", "bc") in (
        [
            Mismatch("letters", "whether a exists", True, False),
            Mismatch("letters", "whether c exists", False, True),
        ],
        [
            Mismatch("letters", "whether c exists", False, True),
            Mismatch("letters", "whether a exists", True, False),
        ],
    )


def on_chain(position: UserPosition) -> dict[str, UserPosition]:
    return {str(position.market): position}


def markets() -> dict[str, MarketAccount]:
    return {str(POSITIONS[0].market): ACCOUNT}
