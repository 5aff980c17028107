from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.unit.realtime.market_messages import (
    ADDRESS,
    CHAIN_VOTE,
    MARKET,
    POST,
    PRICE,
    PROMOTION,
    RETRACTION,
    TRADE,
    TRADER,
    VOTE,
    market,
    message,
    snapshot,
)
from zmartd.chain.commitment import Commitment
from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import MarketState
from zmartd.realtime import frames, subscription_answers
from zmartd.realtime.encodings import audience, text_frame
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.messages import Change, DiscussionChange, Retraction, TradeExecuted

NOW = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
SHORT = "FZ5W…dMYX"
WATCHING = audience(text_frame, signed_in=False)


def payload(wire: bytes) -> Any:
    """What a WebSocket client makes of one unmasked text frame."""
    assert wire[0] == 0x81
    size, start = wire[1], 2
    if size == 126:
        (size,), start = struct.unpack("!H", wire[2:4]), 4
    elif size == 127:
        (size,), start = struct.unpack("!Q", wire[2:10]), 10
    assert len(wire) == start + size
    return json.loads(wire[start:])


def test_a_trade_frame_has_the_names_of_the_api_and_those_of_the_browser_client() -> None:
    assert payload(Broadcast(message(TRADE, 9)).frame(MARKET, signed_in=True)) == {
        "type": "trade",
        "market_id": MARKET,
        "timestamp": "2026-03-01T12:00:00.123Z",
        "seq": 9,
        "commitment": "confirmed",
        "data": {
            "id": "4tx:0",
            "tradeId": "4tx:0",
            "marketId": MARKET,
            "trade_type": "buy",
            "outcome": True,
            "outcome_label": "YES",
            "outcomeLabel": "YES",
            "shares": "2000000000",
            "gross": "1000000000",
            "fee": {
                "protocol": "30000000",
                "resolver": "20000000",
                "lp": "50000000",
                "total": "100000000",
            },
            "net": "1100000000",
            "average_price": 0.55,
            "price_before": 0.5,
            "price_after": 0.5125,
            "cost": "1100000000",
            "price_yes": 0.5125,
            "user_wallet": TRADER,
            "user": TRADER,
            "trader": TRADER,
            "tx_signature": "4tx",
            "signature": "4tx",
            "slot": 77,
            "created_at": "2026-03-01T12:00:00.123Z",
        },
    }


def test_a_sale_says_what_it_paid() -> None:
    sale = msgspec.structs.replace(TRADE, trade_type="sell", outcome=False)
    data = payload(Broadcast(message(sale)).frame(MARKET, signed_in=False))["data"]
    assert (data["net"], data["price_before"], data["price_after"]) == ("1100000000", 0.5, 0.4875)
    assert (data["payout"], data["cost"]) == ("1100000000", "1100000000")


def test_a_market_frame_has_exact_u64_amounts_and_prices_from_0_to_1() -> None:
    frame = payload(Broadcast(message(market(), 4)).frame(ADDRESS, signed_in=False))
    assert frame["type"] == "market_state"
    assert frame["market_id"] == ADDRESS
    assert frame["data"] == {
        "action": "updated",
        "state": "ACTIVE",
        "priceYes": 0.5125,
        "priceNo": 0.4875,
        "totalShares": "2200000000",
        "bParameter": "100000000000",
        "market": {
            "market_id": MARKET,
            "on_chain_address": ADDRESS,
            "state": "ACTIVE",
            "state_code": 2,
            "price_yes": 0.5125,
            "price_no": 0.4875,
            "shares_yes": "2100000000",
            "shares_no": "100000000",
            "b_parameter": "100000000000",
            "total_volume": "1100000000",
            "current_liquidity": "18446744073709551615",
            "proposed_outcome": None,
            "final_outcome": None,
            "awaiting_admin_approval": False,
            "awaiting_decision": False,
            "settles_at": None,
            "slot": 77,
        },
    }


def test_a_change_of_state_names_the_old_and_the_new_one() -> None:
    update = market(old_state=MarketState.ACTIVE, state=MarketState.RESOLVING)
    data = payload(Broadcast(message(update)).frame(MARKET, signed_in=False))["data"]
    assert (data["old_state"], data["new_state"], data["state"]) == ("ACTIVE", "RESOLVING", "RESOLVING")


def test_a_price_frame_says_both_prices_and_the_shares_behind_them() -> None:
    frame = payload(Broadcast(message(PRICE)).frame(MARKET, signed_in=False))
    assert frame["type"] == "price_update"
    assert frame["data"] == {
        "price_yes": 0.5125,
        "price_no": 0.4875,
        "shares_yes": "2100000000",
        "shares_no": "100000000",
        "priceYes": 0.5125,
        "priceNo": 0.4875,
        "totalShares": "2200000000",
    }


@pytest.mark.parametrize("data", [TRADE, POST])
def test_who_is_not_signed_in_sees_wallets_shortened(data: TradeExecuted | DiscussionChange) -> None:
    broadcast = Broadcast(message(data))
    assert TRADER.encode() not in broadcast.frame(MARKET, signed_in=False)
    assert SHORT.encode() in broadcast.frame(MARKET, signed_in=False)
    assert TRADER.encode() in broadcast.frame(MARKET, signed_in=True)


def test_a_votes_frame_tells_neither_the_wallet_nor_what_it_voted() -> None:
    broadcast = Broadcast(message(VOTE))
    assert broadcast.frame(MARKET, signed_in=True) is broadcast.frame(MARKET, signed_in=False)
    assert payload(broadcast.frame(MARKET, signed_in=False))["data"] == {
        "vote_type": "proposal",
        "voted_at": "2026-03-01T12:00:00.123Z",
        "created_at": "2026-03-01T12:00:00.123Z",
    }


def test_a_vote_on_the_chain_has_an_id_by_which_it_can_be_retracted() -> None:
    vote = payload(Broadcast(message(CHAIN_VOTE)).frame(MARKET, signed_in=False))
    gone = payload(
        Broadcast(message(Retraction(kind="vote", record_id="0f" * 32, slot=77))).frame(
            MARKET, signed_in=False
        )
    )
    assert vote["data"]["id"] == gone["data"]["id"] == "0f" * 32


def test_a_retraction_names_the_record_and_the_slot_that_it_is_not_in() -> None:
    assert payload(Broadcast(message(RETRACTION, 10)).frame(ADDRESS, signed_in=False)) == {
        "type": "retracted",
        "market_id": ADDRESS,
        "timestamp": "2026-03-01T12:00:00.123Z",
        "seq": 10,
        "commitment": "confirmed",
        "data": {"kind": "trade", "id": "4tx:0", "slot": 77},
    }


def test_a_commitment_frame_lists_what_has_become_final() -> None:
    frame = payload(Broadcast(message(PROMOTION, 10, commitment="finalized")).frame(MARKET, signed_in=False))
    assert (frame["type"], frame["seq"], frame["commitment"]) == ("commitment", 10, "finalized")
    assert frame["data"] == {"market": False, "trades": ["4tx:0"], "votes": ["0f" * 32]}


@pytest.mark.parametrize("commitment", ["confirmed", "finalized"])
@pytest.mark.parametrize("data", [TRADE, PRICE, CHAIN_VOTE, RETRACTION, PROMOTION, market()])
def test_a_frame_about_the_chain_has_its_commitment(data: Change, commitment: Commitment) -> None:
    broadcast = Broadcast(message(data, commitment=commitment))
    assert {
        payload(wire)["commitment"]
        for wire in (broadcast.frame(MARKET, signed_in=False), broadcast.frame(MARKET, signed_in=True))
    } == {commitment}


@pytest.mark.parametrize("data", [POST, VOTE])
def test_a_frame_about_what_only_the_api_knows_has_none(data: Change) -> None:
    assert "commitment" not in payload(
        Broadcast(message(data, commitment=None)).frame(MARKET, signed_in=False)
    )


def test_a_snapshot_has_the_commitment_of_the_market() -> None:
    final = msgspec.structs.replace(snapshot(6), commitment="finalized")
    for frame in (
        frames.snapshot_frame(final, MARKET),
        subscription_answers.market_begun(MARKET, [], final, NOW),
    ):
        assert json.loads(frame.encode())["commitment"] == "finalized"
    assert "commitment" not in json.loads(subscription_answers.market_begun("nope", [], None, NOW).encode())


def test_a_post_is_there_flat_and_nested() -> None:
    data = payload(Broadcast(message(POST)).frame(MARKET, signed_in=True))["data"]
    assert data == {
        "action": "created",
        "discussion": {
            "id": "d1",
            "user_wallet": TRADER,
            "content": "Why <so> sure?",
            "parent_id": None,
            "created_at": "2026-03-01T12:00:00.123Z",
        },
        "id": "d1",
        "postId": "d1",
        "author": TRADER,
        "user": TRADER,
        "content": "Why <so> sure?",
        "parentId": None,
    }


def test_a_deleted_post_says_when_and_shows_no_content() -> None:
    deleted = DiscussionChange(action="deleted", discussion_id="d1", user_wallet=TRADER)
    post = payload(Broadcast(message(deleted)).frame(MARKET, signed_in=False))["data"]["discussion"]
    assert post["deleted_at"] == "2026-03-01T12:00:00.123Z"
    assert post["content"] is None
    assert "created_at" not in post


def test_each_form_of_a_frame_is_encoded_once() -> None:
    broadcast = Broadcast(message(TRADE))
    assert broadcast.frame(MARKET, signed_in=False) is broadcast.frame(MARKET, signed_in=False)
    assert broadcast.frame(MARKET, signed_in=True) is broadcast.frame(MARKET, signed_in=True)


def test_clients_that_choose_where_they_resume_cannot_make_a_message_keep_ever_more_frames() -> None:
    """Which number is before that of a message that passes a filter depends on where a client resumes."""
    broadcast = Broadcast(message(TRADE))
    plain = broadcast.encoded(MARKET, WATCHING)
    for prev_seq in range(1_000):
        assert payload(broadcast.encoded(MARKET, WATCHING, prev_seq).data)["prev_seq"] == prev_seq
    assert len(broadcast._frames) <= frames.MAX_FILTERED_FRAMES + 1
    assert broadcast.encoded(MARKET, WATCHING) is plain
    assert broadcast.encoded(MARKET, WATCHING, 999) is broadcast.encoded(MARKET, WATCHING, 999)


def test_the_answer_to_a_subscription_is_a_snapshot_as_well() -> None:
    frame = json.loads(subscription_answers.market_begun(ADDRESS, [ADDRESS], snapshot(6), NOW).encode())
    assert frame["market_id"] == ADDRESS
    assert frame["seq"] == 6
    assert frame["data"]["message"] == f"Subscribed to market {ADDRESS}"
    assert frame["data"]["subscriptions"] == [ADDRESS]
    assert frame["data"]["known"] is True
    assert (frame["data"]["priceYes"], frame["data"]["state"]) == (0.5125, "ACTIVE")


def test_the_answer_for_a_market_that_cannot_be_read_says_so() -> None:
    frame = json.loads(subscription_answers.market_begun("nope", ["nope"], None, NOW).encode())
    assert frame["data"] == {
        "message": "Subscribed to market nope",
        "subscriptions": ["nope"],
        "known": False,
    }


@pytest.mark.parametrize("length", [1, 125, 126, 200, 65_535, 65_536, 70_000])
def test_frames_of_any_length_are_framed_rightly(length: int) -> None:
    text = "é" * length
    assert json.loads(frames.error(ZmartdError(text), NOW).encode())["data"]["error"] == text
