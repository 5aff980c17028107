from __future__ import annotations

from collections.abc import Sequence

from zmartd.realtime.batch import Batch, EncodedFrame, conflated


def price(market: str, seq: int) -> EncodedFrame:
    return EncodedFrame(b"%s%d " % (market.encode(), seq), market, seq)


def other(market: str, seq: int) -> EncodedFrame:
    return EncodedFrame(b"%s%d! " % (market.encode(), seq), None, seq)


def skipped(market: str, seqs: Sequence[int]) -> EncodedFrame:
    return EncodedFrame(f"{market}{list(seqs)} ".encode())


def test_a_batch_is_its_frames_in_order_joined_once() -> None:
    first = Batch(None, [other("a", 1)])
    second = Batch(first, [price("a", 2), other("b", 1)], asked=True)
    assert (first.data(), second.data()) == (b"a1! ", b"a1! a2 b1! ")
    assert second.data() is second.data()
    assert first.data() is first.frames()[0].data
    assert (second.size, second.count, second.asked_bytes) == (11, 3, 7)


def test_only_the_newest_price_of_each_market_stays_and_the_others_are_named() -> None:
    batch = Batch(None, [price("a", 1), other("a", 2), price("b", 7)])
    batch = Batch(batch, [price("a", 3), other("b", 8), price("a", 4), price("b", 9), other("a", 5)])
    assert conflated(batch, skipped).data() == b"a[1, 3] b[7] a2! b8! a4 b9 a5! "


def test_a_batch_without_prices_to_leave_out_stays_as_it_is() -> None:
    batch = Batch(Batch(None, [price("a", 1), other("a", 2)]), [price("b", 1)])
    assert conflated(batch, skipped) is batch


def test_what_was_conflated_before_is_conflated_again() -> None:
    batch = conflated(Batch(None, [price("a", 1), price("a", 2)], asked=True), skipped)
    assert batch.asked_bytes == 6
    again = conflated(Batch(batch, [price("a", 3)]), skipped)
    assert again.data() == b"a[2] a[1] a3 "
