"""The short form of `python -m tests.stress.ws`."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from aiohttp import ClientSession

from tests.shared_secrets import shared_secret
from tests.stress.accounts import Account
from tests.stress.leftovers import more
from tests.stress.subscribers import Subscriber
from tests.stress.told import Subscription, Told, Violation
from tests.stress.ws import faults, run
from zmartd.clock import SystemClock
from zmartd.config import AuthSettings
from zmartd.config_values import SharedSecret
from zmartd.http.auth.tokens import Tokens

CHOSEN = (
    "kill -9, the second daemon",
    "Redis kill -9, under load",
)
MARKET, EPOCH = "5a" * 32, "0" * 16
WALLET = "FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX"


@pytest.mark.timeout(3_600)
async def test_what_clients_are_told_over_sockets_has_no_hole_whatever_happens(tmp_path: Path) -> None:
    by_name = {fault.name: fault for fault in faults()}
    done = await run(tmp_path, 1, [by_name[name] for name in CHOSEN], None, clients=30)
    assert min(done[name] for name in ("frames", "events", "recorded frames", "resumed", "state")) > 0
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


def test_prices_that_are_named_as_left_out_are_no_hole_and_others_are() -> None:
    subscription = followed(Told())
    subscription.check({"type": "skipped", "data": {"seqs": [8, 9, 11]}})
    subscription.check(frame(10))
    with pytest.raises(Violation):
        subscription.check(frame(13))
    subscription.check(frame(12))


def resuming() -> Subscription:
    """One that resumes after 7, and was answered that what it has missed comes later."""
    subscription = followed(Told())
    subscription.lose()
    subscription.ask()
    subscription.check({"type": "market_state", "data": {"known": False}})
    return subscription


@pytest.mark.parametrize("by_beat", [True, False])
def test_who_resumes_later_goes_on_where_it_was(by_beat: bool) -> None:
    subscription = resuming()
    if by_beat:
        subscription.beat(EPOCH, 7)
    else:
        subscription.check(frame(8))
    assert subscription.done["resumed later"] == 1
    with pytest.raises(Violation):
        subscription.check(frame(7))


def test_who_resumes_later_misses_nothing_without_being_told() -> None:
    with pytest.raises(Violation):
        resuming().check(frame(9))
    with pytest.raises(Violation):
        resuming().beat(EPOCH, 8)
    state = {"type": "market_state", "epoch": EPOCH, "seq": 9, "data": {"known": True}}
    with pytest.raises(Violation):
        resuming().check(state)
    told = resuming()
    told.check({"type": "resync", "data": {}})
    told.check(state)
    assert told.current


def test_a_beat_that_says_that_more_was_sent_is_a_violation() -> None:
    subscription = followed(Told())
    subscription.beat(EPOCH, 7)
    with pytest.raises(Violation):
        subscription.beat(EPOCH, 8)


def test_a_beat_about_a_stream_that_one_does_not_get_is_a_violation() -> None:
    subscription = followed(Told())
    subscription.lose()
    with pytest.raises(Violation):
        subscription.beat(EPOCH, 7)


def subscriber(account: Account | None = None) -> Subscriber:
    """One that never connects."""
    return Subscriber(cast(ClientSession, None), (), Told(), random.Random(1), account)


def account() -> Account:
    settings = AuthSettings(jwt_secret=SharedSecret(shared_secret("sessions")))
    return Account(WALLET, Tokens(settings, "zmartd:localnet:test", SystemClock(), lambda: "a session"))


def test_a_frame_of_what_one_has_not_subscribed_to_is_a_violation() -> None:
    for place in ({"market_id": MARKET}, {"channel": f"user:{WALLET}"}):
        with pytest.raises(Violation):
            subscriber().take({**frame(8), **place})


def test_a_session_that_ends_by_itself_is_a_violation_and_one_that_was_ended_must_not_go_on() -> None:
    owner = account()
    client = subscriber(owner)
    own = client.subscriptions[owner.stream]
    own.ask()
    own.check({"type": "user_state", "epoch": EPOCH, "seq": 7, "data": {"known": True}})
    client.signed_in()
    with pytest.raises(Violation):
        client.session_ended()
    owner.was_to_end, owner.signed_out_at = True, 0.0
    client.session_ended()
    with pytest.raises(Violation):
        client.signed_in()
    with pytest.raises(Violation):
        own.check(frame(8))


def test_what_a_daemon_has_more_of_than_before_is_named() -> None:
    before = Counter(tasks=20, descriptors=30)
    assert not more(before, Counter(tasks=19, descriptors=30))
    assert more(before, Counter(tasks=21, descriptors=30, places=1)) == "tasks 20 -> 21, places 0 -> 1"


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
