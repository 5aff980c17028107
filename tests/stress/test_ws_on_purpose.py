"""The short form of `python -m tests.stress.ws`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.told import Subscription, Told, Violation
from tests.stress.ws import faults, run

CHOSEN = (
    "kill -9, the second daemon",
    "Redis kill -9, under load",
)
MARKET, EPOCH = "5a" * 32, "0" * 16


@pytest.mark.timeout(3_600)
async def test_what_clients_are_told_over_sockets_has_no_hole_whatever_happens(tmp_path: Path) -> None:
    by_name = {fault.name: fault for fault in faults()}
    done = await run(tmp_path, 1, [by_name[name] for name in CHOSEN], None, clients=30)
    assert min(done[name] for name in ("frames", "resumed", "state")) > 0
    assert done["connections"] > 30


def followed(told: Told, *, at: int = 7) -> Subscription:
    subscription = Subscription(MARKET, told)
    subscription.ask()
    subscription.check({"type": "market_state", "epoch": EPOCH, "seq": at, "data": {"known": True}})
    return subscription


def frame(seq: int, trade: str = "t") -> dict[str, object]:
    return {"type": "trade", "seq": seq, "data": {"id": trade}}


@pytest.mark.parametrize("seq", [6, 7, 9])
def test_a_hole_a_repetition_and_another_order_are_violations(seq: int) -> None:
    subscription = followed(Told())
    with pytest.raises(Violation):
        subscription.check(frame(seq))


def test_what_differs_between_clients_is_a_violation() -> None:
    told = Told()
    followed(told).check(frame(8))
    with pytest.raises(Violation):
        followed(told).check(frame(8, "another"))


def test_a_frame_after_the_end_of_a_subscription_is_a_violation() -> None:
    subscription = followed(Told())
    subscription.leave()
    subscription.check(frame(8))
    subscription.check({"type": "market_state", "data": {"message": "Unsubscribed from market"}})
    with pytest.raises(Violation):
        subscription.check(frame(9))


def test_to_resume_elsewhere_is_a_violation() -> None:
    subscription = followed(Told())
    subscription.lose()
    subscription.ask()
    with pytest.raises(Violation):
        subscription.check({"type": "market_state", "epoch": EPOCH, "seq": 6, "data": {"recovered": True}})
