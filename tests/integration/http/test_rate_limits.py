"""The counting itself, against a real server: several daemons, windows that end, a server that goes away."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.patience import SECONDS
from zmartd.http.kit.weights import FROM_MEMORY, REQUEST
from zmartd.http.middleware import rate_limiter
from zmartd.http.middleware.rate_limiter import (
    HOUR_SECONDS,
    MINUTE_SECONDS,
    RateLimiter,
    RateLimitResult,
    WindowLimits,
)

RATES = WindowLimits(per_minute=100, per_hour=1_000)
LEASE = 10
CALLER = "ip:192.0.2.1"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a handshake takes long is no Redis that is away."""
    monkeypatch.setattr(rate_limiter, "REDIS_TIMEOUT_SECONDS", SECONDS)


class Clock:
    """The real one, moved forward by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def redis_that_is_away() -> Redis:
    """Nobody listens there, which is known at once."""
    return Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))


async def send(limiter: RateLimiter, times: int, rates: WindowLimits = RATES) -> list[RateLimitResult]:
    return [await limiter.count([(CALLER, rates)]) for _ in range(times)]


def admitted(standings: list[RateLimitResult]) -> int:
    return sum(standing.allowed for standing in standings)


async def a_minute_passes(redis: Redis, clock: Clock) -> None:
    clock.ahead += MINUTE_SECONDS
    await redis.delete(f"rate:tenths:minute:{{{CALLER}}}")


async def test_as_many_requests_are_let_through_as_the_limit_says(redis: Redis, clock: Clock) -> None:
    standings = await send(RateLimiter(redis, clock), 103)
    assert [standing.allowed for standing in standings] == [True] * 100 + [False] * 3
    assert [standing.remaining for standing in standings] == [*range(99, -1, -1), 0, 0, 0]
    assert {standing.limit for standing in standings} == {100}
    assert all(0 < standing.reset_seconds <= MINUTE_SECONDS for standing in standings)


async def test_all_daemons_together_let_through_what_one_would(redis: Redis, clock: Clock) -> None:
    daemons = [RateLimiter(redis, clock) for _ in range(4)]
    standings = await asyncio.gather(*(send(daemon, 60) for daemon in daemons))
    assert sum(admitted(of_one) for of_one in standings) == 100


async def test_a_caller_loses_at_most_a_lease_to_each_other_daemon(redis: Redis, clock: Clock) -> None:
    others = [RateLimiter(redis, clock) for _ in range(3)]
    for other in others:
        await send(other, 1)
    assert admitted(await send(RateLimiter(redis, clock), 200)) == 100 - 3 * LEASE


async def test_what_was_not_used_in_a_minute_is_not_missing_from_the_hour(redis: Redis, clock: Clock) -> None:
    limiter = RateLimiter(redis, clock)
    for minute in range(1, 5):
        assert admitted(await send(limiter, LEASE + 1)) == LEASE + 1
        used = int(await redis.get(f"rate:tenths:hour:{{{CALLER}}}") or 0)
        assert used == ((minute - 1) * (LEASE + 1) + 2 * LEASE) * REQUEST
        await a_minute_passes(redis, clock)


async def test_daemons_that_die_take_little_of_an_hour_with_them(redis: Redis, clock: Clock) -> None:
    rates = WindowLimits(per_minute=100_000, per_hour=1_000)
    for _ in range(20):
        await RateLimiter(redis, clock).count([(CALLER, rates)])
    assert (await RateLimiter(redis, clock).count([(CALLER, rates)])).remaining == 1_000 - 20 * LEASE - 1


async def test_what_weighs_a_tenth_is_allowed_ten_times_as_often_over_all_daemons(
    redis: Redis, clock: Clock
) -> None:
    limiter, other = RateLimiter(redis, clock), RateLimiter(redis, clock)
    light = [await limiter.count([(CALLER, RATES)], FROM_MEMORY) for _ in range(895)]
    assert admitted(light) == 895
    assert [light[0].remaining, light[9].remaining, light[10].remaining] == [99, 99, 98]
    assert {standing.limit for standing in light} == {100}
    assert admitted(await send(limiter, 20)) == 10
    standings = [await limiter.count([(CALLER, RATES)], FROM_MEMORY) for _ in range(8)]
    assert [standing.allowed for standing in standings] == [True] * 5 + [False] * 3
    assert {standing.remaining for standing in standings} == {0}
    assert not (await other.count([(CALLER, RATES)], FROM_MEMORY)).allowed


async def test_who_has_room_for_a_light_request_only_waits_for_the_window_that_refuses_a_heavy_one(
    redis: Redis, clock: Clock
) -> None:
    """The minute has less left than the hour, and both too little: it is the hour that has to end."""
    limiter, rates = RateLimiter(redis, clock), WindowLimits(per_minute=10, per_hour=11)
    await send(limiter, 1, rates)
    await a_minute_passes(redis, clock)
    standings = [await limiter.count([(CALLER, rates)], FROM_MEMORY) for _ in range(95)]
    assert admitted(standings) == 95
    refused = await limiter.count([(CALLER, rates)])
    assert (refused.allowed, refused.limit, refused.remaining) == (False, 11, 0)
    assert refused.reset_seconds > MINUTE_SECONDS
    assert (await limiter.count([(CALLER, rates)], FROM_MEMORY)).allowed


async def test_an_hour_that_is_used_up_refuses_in_a_minute_that_is_not(redis: Redis, clock: Clock) -> None:
    limiter, rates = RateLimiter(redis, clock), WindowLimits(per_minute=100, per_hour=150)
    assert admitted(await send(limiter, 100, rates)) == 100
    await a_minute_passes(redis, clock)
    standings = await send(limiter, 60, rates)
    assert admitted(standings) == 50
    assert standings[-1].limit == 150
    assert standings[-1].reset_seconds > MINUTE_SECONDS


async def test_callers_do_not_pay_for_each_other(redis: Redis, clock: Clock) -> None:
    limiter = RateLimiter(redis, clock)
    await send(limiter, 101)
    assert (await limiter.count([("ip:192.0.2.2", RATES)])).remaining == 99


async def test_a_burst_asks_the_server_once_for_each_lease(redis: Redis, clock: Clock) -> None:
    limiter = RateLimiter(redis, clock)
    before = (await redis.info("commandstats")).get("cmdstat_eval", {"calls": 0})["calls"]
    standings = await asyncio.gather(*(limiter.count([(CALLER, RATES)]) for _ in range(100)))
    after = (await redis.info("commandstats"))["cmdstat_eval"]["calls"]
    assert admitted(list(standings)) == 100
    assert after - before == 100 // LEASE


async def test_without_a_server_each_daemon_keeps_the_limit_by_itself(clock: Clock) -> None:
    nowhere = redis_that_is_away()
    limiter = RateLimiter(nowhere, clock)
    standings = await send(limiter, 101)
    assert [standing.allowed for standing in standings] == [True] * 100 + [False]
    clock.ahead += MINUTE_SECONDS
    assert (await limiter.count([(CALLER, RATES)])).allowed
    await nowhere.aclose()


async def test_without_a_server_the_hour_goes_on_from_what_was_known_of_it(
    redis: Redis, clock: Clock
) -> None:
    limiter, rates = RateLimiter(redis, clock), WindowLimits(per_minute=100, per_hour=150)
    assert admitted(await send(limiter, 60, rates)) == 60
    limiter.redis = redis_that_is_away()
    clock.ahead += MINUTE_SECONDS
    assert admitted(await send(limiter, 120, rates)) == 90
    clock.ahead += MINUTE_SECONDS
    refused = await limiter.count([(CALLER, rates)])
    assert (refused.allowed, refused.limit) == (False, 150)
    assert refused.reset_seconds > MINUTE_SECONDS
    clock.ahead += HOUR_SECONDS
    assert (await limiter.count([(CALLER, rates)])).allowed
    await limiter.redis.aclose()


async def test_what_was_granted_without_a_server_is_not_given_back_to_it(redis: Redis, clock: Clock) -> None:
    nowhere = redis_that_is_away()
    limiter = RateLimiter(nowhere, clock)
    await send(limiter, 1)
    limiter.redis = redis
    clock.ahead += MINUTE_SECONDS
    await send(limiter, 1)
    assert int(await redis.get(f"rate:tenths:hour:{{{CALLER}}}") or 0) == LEASE * REQUEST
    await nowhere.aclose()


async def test_memory_is_bounded_and_who_was_forgotten_is_still_counted(redis: Redis, clock: Clock) -> None:
    limiter = RateLimiter(redis, clock, max_leases=2)
    await send(limiter, 100)
    for other in range(3):
        await limiter.count([(f"ip:198.51.100.{other}", RATES)])
    assert not (await limiter.count([(CALLER, RATES)])).allowed


async def test_a_request_on_two_accounts_needs_room_on_both_and_else_counts_on_neither(
    redis: Redis, clock: Clock
) -> None:
    limiter, few = RateLimiter(redis, clock), WindowLimits(per_minute=5, per_hour=1_000, of="few")
    wallet, address = ("wallet:one", few), (CALLER, RATES)
    standings = [await limiter.count([wallet, address]) for _ in range(8)]
    assert [standing.allowed for standing in standings] == [True] * 5 + [False] * 3
    assert {standing.limit for standing in standings} == {5}
    assert standings[-1].policy == (
        '5;w=60;comment="few", 1000;w=3600;comment="few", '
        '100;w=60;comment="requests", 1000;w=3600;comment="requests"'
    )
    assert (await limiter.count([address])).remaining == 100 - 5 - 1


async def test_wallets_of_one_address_share_what_it_may_send(redis: Redis, clock: Clock) -> None:
    limiter, many = RateLimiter(redis, clock), WindowLimits(per_minute=80, per_hour=1_000)
    accounts = [[(f"wallet:{number}", many), (CALLER, RATES)] for number in range(4)]
    standings = [await limiter.count(of_one) for of_one in accounts for _ in range(40)]
    assert admitted(standings) == 100
    assert (standings[0].limit, standings[-1].limit) == (80, 100)
    assert (await limiter.count([accounts[3][0]])).remaining == 80 - 1


async def test_both_accounts_are_asked_for_at_once(redis: Redis, clock: Clock) -> None:
    limiter = RateLimiter(redis, clock)
    accounts = [("wallet:one", RATES), (CALLER, RATES)]
    standings = await asyncio.gather(*(limiter.count(accounts) for _ in range(120)))
    assert admitted(list(standings)) == 100


async def test_who_began_before_a_lease_was_used_up_gets_the_next(redis: Redis, clock: Clock) -> None:
    limiter, account = RateLimiter(redis, clock), [(CALLER, RATES)]
    await limiter.count(account)
    began = clock.monotonic()
    clock.ahead += 1
    assert admitted(await send(limiter, LEASE - 1)) == LEASE - 1
    assert limiter.count_leased(account, began) is None
    assert (await limiter.count(account)).allowed


async def test_an_account_is_known_to_be_used_up_until_its_minute_is_over(redis: Redis, clock: Clock) -> None:
    limiter = RateLimiter(redis, clock)
    assert not limiter.is_exhausted(CALLER)
    await send(limiter, 99)
    assert not limiter.is_exhausted(CALLER)
    await send(limiter, 1)
    assert limiter.is_exhausted(CALLER)
    clock.ahead += MINUTE_SECONDS
    assert not limiter.is_exhausted(CALLER)
