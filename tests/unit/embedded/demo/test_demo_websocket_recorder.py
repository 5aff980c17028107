"""The recorder, with frames as zmartd.realtime encodes them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from zmartd.embedded.demo.websocket_recorder import RecordedPrice, WebSocketRecorder
from zmartd.errors import ZmartdError
from zmartd.market.fees import TradeFees
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.realtime import frames
from zmartd.realtime.messages import Change, MarketUpdate, Message, PriceUpdate, TradeExecuted, VoteCast
from zmartd.store.streams import StreamPosition

MARKET = "ab" * 32
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def frame(seq: int, change: Change) -> dict[str, Any]:
    message = Message(MARKET, change, NOW, position=StreamPosition("0" * 16, seq))
    return decoded(frames.message_frame(message, MARKET, str))


def decoded(one: frames.Frame) -> dict[str, Any]:
    return dict(msgspec.json.decode(msgspec.json.encode(one)))


def update(state: MarketState, price_yes: int = 500_000_000) -> MarketUpdate:
    return MarketUpdate(
        state=state,
        on_chain_address="address",
        price_yes=price_yes,
        shares_yes=3,
        shares_no=4,
        b_parameter=5,
        total_volume_lamports=6,
        current_liquidity_lamports=7,
    )


def price(price_yes: int) -> PriceUpdate:
    return PriceUpdate(price_yes=price_yes, shares_yes=30, shares_no=40)


def trade(signature: str) -> TradeExecuted:
    return TradeExecuted(
        trade_id=f"{signature}:0",
        trade_type="buy",
        outcome=True,
        shares=1,
        cost_lamports=2,
        amount_lamports=2,
        fees=TradeFees(0, 0, 0, 0),
        price_yes_before=500_000_000,
        price_yes=500_000_000,
        user_wallet="wallet",
        signature=signature,
        slot=1,
    )


def told(*all_frames: dict[str, Any]) -> WebSocketRecorder:
    recorder = WebSocketRecorder()
    for one in all_frames:
        recorder.take(one)
    return recorder


def test_states_are_kept_in_their_order_and_each_once() -> None:
    recorder = told(
        frame(1, update(MarketState.PROPOSED)),
        frame(2, update(MarketState.PROPOSED)),
        frame(3, update(MarketState.APPROVED)),
        frame(4, update(MarketState.ACTIVE)),
    )
    assert recorder.states[MARKET] == ["PROPOSED", "APPROVED", "ACTIVE"]
    assert recorder.frames == 4
    assert recorder.problems == []


def test_the_newest_quote_is_that_of_the_last_state_or_price() -> None:
    recorder = told(frame(1, update(MarketState.ACTIVE)), frame(2, price(612_345_678)))
    assert recorder.prices[MARKET] == RecordedPrice(0.612345678, "70")
    recorder.take(frame(2, update(MarketState.ACTIVE, 612_345_678)))
    assert recorder.prices[MARKET] == RecordedPrice(0.612345678, "7")


def test_a_state_or_price_older_than_one_told_is_a_fault_and_changes_nothing() -> None:
    recorder = told(
        frame(5, update(MarketState.ACTIVE)),
        frame(4, price(1)),
        frame(3, update(MarketState.APPROVED)),
    )
    assert [one.split()[:2] for one in recorder.problems] == [
        ["price_update", "4"],
        ["market_state", "3"],
    ]
    assert recorder.states[MARKET] == ["ACTIVE"]
    assert recorder.prices[MARKET].price_yes == 0.5


def test_votes_and_trades_may_carry_an_older_version() -> None:
    vote = VoteCast(vote_type=VoteKind.PROPOSAL)
    recorder = told(frame(5, update(MarketState.ACTIVE)), frame(4, vote), frame(4, trade("a")))
    assert recorder.problems == []
    assert recorder.trades == {"a"}


def test_an_error_frame_is_a_fault() -> None:
    recorder = told(decoded(frames.error(ZmartdError("Something went wrong"), NOW)))
    assert recorder.problems == ["error internal_error: Something went wrong"]


async def test_trades_that_never_come_are_named_after_the_time_out() -> None:
    recorder = told(frame(1, trade("a")))
    assert await recorder.wait_for_trades({"a"}, timeout_seconds=0) == set()
    assert await recorder.wait_for_trades({"a", "b"}, timeout_seconds=0) == {"b"}


async def test_a_market_s_life_is_all_of_its_states_and_no_others() -> None:
    recorder = told(frame(1, update(MarketState.PROPOSED)), frame(2, update(MarketState.CANCELLED)))
    async with asyncio.timeout(120):
        assert await recorder.wait_for_states(MARKET, ["PROPOSED", "CANCELLED"], timeout_seconds=0)
        assert not await recorder.wait_for_states(MARKET, ["PROPOSED"], timeout_seconds=0)
