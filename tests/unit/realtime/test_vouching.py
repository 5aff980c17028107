from __future__ import annotations

from msgspec.structs import replace

from zmartd.realtime.followed import Look
from zmartd.realtime.vouching import (
    CHAIN_SECONDS,
    DATABASE_SECONDS,
    INDEXER_SECONDS,
    REDIS_SECONDS,
    Reason,
    Vouching,
)
from zmartd.store.pulses import Pulse

FIRST = Pulse(number=1, slot=100, chain_time=1_772_366_400, raised_seconds=0.0, newest_seconds=0.0)
STEP_SECONDS = 0.25
PULSE_SECONDS = 2.0


class World:
    """A daemon's moments, each a step after the one before, and the parts of it that can freeze."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.vouching = Vouching(self.now)
        self.frozen: set[str] = set()
        self.is_listening = True
        self.raised: Pulse = FIRST
        self._raised_at = self.now
        self._look: Look | None = None
        self._told: Look | None = None
        self._heard: Pulse | None = None

    def step(self) -> bool:
        """Everything that works goes on. Says whether the reasons have changed."""
        self.now += STEP_SECONDS
        if self.now - self._raised_at >= PULSE_SECONDS and not self.frozen & {"indexer", "database"}:
            self._raised_at = self.now
            self.raised = self._next()
            if not self.frozen & {"redis"}:
                self._heard = self.raised
        if "database" not in self.frozen:
            self._look = Look(self.now, self.raised)
            if "telling" not in self.frozen:
                self._told = self._look
        return self.vouching.judge(
            self.now, self._look, self._told, self._heard, is_listening=self.is_listening
        )

    def _next(self) -> Pulse:
        before = self.raised
        stands, lacks = "chain" in self.frozen, "behind" in self.frozen
        return Pulse(
            number=before.number + 1,
            slot=before.slot if stands or lacks else before.slot + 5,
            chain_time=before.chain_time + 2,
            raised_seconds=before.raised_seconds + PULSE_SECONDS if stands or lacks else 0.0,
            newest_seconds=before.newest_seconds + PULSE_SECONDS if stands else 0.0,
        )

    def seconds_until(self, *reasons: Reason) -> float:
        """How long it takes until it says exactly these reasons."""
        began = self.now
        while self.vouching.reasons != reasons:
            self.step()
            assert self.now - began < 60, self.vouching.reasons
        return self.now - began


def running() -> World:
    world = World()
    for _ in range(400):
        world.step()
        assert world.vouching.reasons == ()
    return world


def test_what_works_is_vouched_for_by_the_newest_pulse() -> None:
    world = running()
    assert world.vouching.vouched == world.raised


def test_each_part_that_freezes_is_named_within_ten_seconds_and_no_longer_when_it_goes_on() -> None:
    parts: dict[str, Reason] = {
        "database": "database",
        "telling": "database",
        "indexer": "indexer",
        "behind": "indexer",
        "redis": "redis",
        "chain": "chain",
    }
    for part, reason in parts.items():
        for phase in range(8):
            world = running()
            for _ in range(phase):
                world.step()
            world.frozen.add(part)
            assert world.seconds_until(reason) < 10
            vouched = world.vouching.vouched
            for _ in range(200):
                assert not world.step(), "it says so once"
            if part not in ("chain", "behind"):
                assert world.vouching.vouched == vouched
            world.frozen.clear()
            assert world.seconds_until() < 6
            assert world.vouching.vouched != vouched


def test_two_parts_that_freeze_are_both_named() -> None:
    world = running()
    world.frozen = {"redis", "chain"}
    assert world.seconds_until("redis", "chain") < 12


def test_a_connection_to_redis_that_is_lost_counts_although_the_database_is_away_too() -> None:
    world = running()
    world.frozen, world.is_listening = {"database"}, False
    assert world.seconds_until("database", "redis") < 10


def test_while_the_database_is_away_nobody_says_that_the_indexer_is() -> None:
    world = running()
    world.frozen.add("database")
    for _ in range(400):
        world.step()
        assert "indexer" not in world.vouching.reasons


def test_a_daemon_that_never_gets_anything_says_so() -> None:
    vouching = Vouching(0.0)
    vouching.judge(9.0, None, None, None, is_listening=False)
    assert vouching.reasons == ("database", "redis")
    assert vouching.vouched is None


def test_a_pulse_from_before_the_database_was_set_back_vouches_for_nothing() -> None:
    vouching = Vouching(0.0)
    before, after = replace(FIRST, number=5_000), replace(FIRST, number=7)
    vouching.judge(1.0, Look(1.0, after), Look(1.0, after), before, is_listening=True)
    assert vouching.vouched is None
    vouching.judge(2.0, Look(2.0, after), Look(2.0, after), after, is_listening=True)
    assert vouching.vouched == after


def test_nothing_waits_longer_than_ten_seconds() -> None:
    assert max(DATABASE_SECONDS, INDEXER_SECONDS, REDIS_SECONDS, CHAIN_SECONDS) < 8
