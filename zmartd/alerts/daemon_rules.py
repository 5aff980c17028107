"""Rules about the daemons: what each says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rule import Facts, Finding, Rule, exceeds_bps, percent

HOUR: Final = timedelta(hours=1)


def restarts(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    """Starts within the last hour at a place where another process had been before."""
    begun: Counter[str] = Counter()
    unordered: Counter[str] = Counter()
    before: dict[str, bool] = {}
    for one in facts.daemons:
        if one.place in before and one.started_at > facts.now - HOUR:
            begun[one.place] += 1
            unordered[one.place] += not before[one.place]
        before[one.place] = one.stopped_at is not None
    for place, number in begun.items():
        if number > settings.restarts_per_hour:
            died = unordered[place]
            yield Finding(
                number,
                f"the daemon at {place} was started again {number} times within an hour, {died} times after "
                f"one that did not stop in order; {settings.restarts_per_hour} are allowed",
                place,
            )


def api_errors(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    requests = sum(one.vitals.requests for one in facts.alive)
    errors = sum(one.vitals.request_errors for one in facts.alive)
    if requests >= max(settings.api_min_requests, 1) and exceeds_bps(
        errors, requests, settings.api_errors_bps
    ):
        yield Finding(
            errors / requests,
            f"{percent(errors, requests)} of {requests} requests of the API got a server error within "
            f"{settings.window_seconds:g} s; {settings.api_errors_bps / 100:g} % are allowed",
        )


def websocket_disconnects(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    number = sum(one.vitals.websockets for one in facts.alive)
    lost = sum(one.vitals.websockets_lost for one in facts.alive)
    if number >= max(settings.websocket_min_connections, 1) and exceeds_bps(
        lost, number, settings.websocket_lost_bps
    ):
        yield Finding(
            lost / number,
            f"{percent(lost, number)} of {number} WebSocket connections broke off within "
            f"{settings.window_seconds:g} s; {settings.websocket_lost_bps / 100:g} % are allowed",
        )


def database_failures(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    failures = sum(one.vitals.database_failures for one in facts.alive)
    if failures > settings.database_failures:
        yield Finding(
            failures,
            f"Postgres could not be used, or did not answer in time, {failures} times within "
            f"{settings.window_seconds:g} s; {settings.database_failures} are allowed",
        )


def redis_failures(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    failing = [
        (one.vitals.redis_failing_seconds, one.place)
        for one in facts.alive
        if one.vitals.redis_failing_seconds > settings.redis_seconds
    ]
    if failing:
        seconds, place = max(failing)
        yield Finding(
            seconds,
            f"Redis has not answered {len(failing)} of {len(facts.alive)} daemons for up to {seconds:.0f} s, "
            f"as {place}; {settings.redis_seconds:g} s are allowed",
        )


def clock_skew(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for one in facts.alive:
        seconds = one.vitals.clock_skew_seconds
        if abs(seconds) > settings.clock_skew_seconds:
            yield Finding(
                abs(seconds),
                f"the clock of the machine of {one.place} is {_off(seconds)} Postgres's; "
                f"{settings.clock_skew_seconds:g} s are allowed",
                one.place,
            )


def chain_clock_skew(facts: Facts, settings: AlertSettings) -> tuple[Finding, ...] | None:
    if facts.chain is None:
        return None
    seconds = facts.chain.ahead_seconds
    if abs(seconds) <= settings.chain_skew_seconds:
        return ()
    summary = (
        f"the chain's clock is {_off(seconds)} Postgres's; {settings.chain_skew_seconds:g} s are allowed"
    )
    return (Finding(abs(seconds), summary),)


def _off(seconds: float) -> str:
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'}"


def event_loop_lag(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for one in facts.alive:
        seconds = one.vitals.loop_lag_seconds
        if seconds > settings.event_loop_lag_seconds:
            yield Finding(
                seconds,
                f"the event loop of {one.place} stood still for {seconds:.1f} s within "
                f"{settings.window_seconds:g} s; {settings.event_loop_lag_seconds:g} s are allowed",
                one.place,
            )


def descriptors(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for one in facts.alive:
        used, limit = one.vitals.descriptors, one.vitals.descriptor_limit
        if limit and exceeds_bps(used, limit, settings.descriptors_bps):
            yield Finding(
                used / limit,
                f"{one.place} has {used} of {limit} file descriptors open, {percent(used, limit)}; "
                f"{settings.descriptors_bps / 100:g} % are allowed",
                one.place,
            )


RULES: Final = (
    Rule(
        name="restarts",
        severity="critical",
        meaning="A daemon is started again and again.",
        remedy="Read the end of its log before each start, and `journalctl -u zmartd`: an error, or memory.",
        settings=("restarts_per_hour",),
        find=restarts,
    ),
    Rule(
        name="api_errors",
        severity="critical",
        meaning="Too many requests of the API are answered with a server error.",
        remedy='See which routes in `zmartd_http_request_duration_seconds{status=~"5.."}`, why in the log by '
        "the request's id, and what is away in the operator's `/health`.",
        settings=("api_errors_bps", "api_min_requests"),
        find=api_errors,
    ),
    Rule(
        name="websocket_disconnects",
        severity="warning",
        meaning="Too many WebSocket connections end without their client closing them.",
        remedy="Look at the proxy's time-outs, at `zmartd_websocket_ended_connections_total` by code, and at "
        "the network.",
        settings=("websocket_lost_bps", "websocket_min_connections"),
        find=websocket_disconnects,
    ),
    Rule(
        name="database_failures",
        severity="critical",
        meaning="Postgres cannot be used, or does not answer in time.",
        remedy="Run `zmartd check`, which says why; look at Postgres's log and its connections.",
        settings=("database_failures", "database_seconds"),
        find=database_failures,
    ),
    Rule(
        name="redis_failures",
        severity="warning",
        meaning="Redis does not answer. Frames reach clients of streams late, and each daemon counts limits "
        "alone.",
        remedy="Run `zmartd check`; look at Redis's log and its memory.",
        settings=("redis_seconds",),
        find=redis_failures,
    ),
    Rule(
        name="clock_skew",
        severity="warning",
        meaning="A machine's clock differs from Postgres's.",
        remedy="Set up NTP (chrony) on that machine.",
        settings=("clock_skew_seconds",),
        find=clock_skew,
        lasts_seconds=30.0,
    ),
    Rule(
        name="chain_clock_skew",
        severity="warning",
        meaning="The chain's clock, by which markets are due, differs from Postgres's.",
        remedy="Compare another RPC node's time: this one may be behind. Does Postgres's machine have NTP?",
        settings=("chain_skew_seconds",),
        find=chain_clock_skew,
        lasts_seconds=30.0,
    ),
    Rule(
        name="event_loop_lag",
        severity="warning",
        meaning="A daemon did nothing for a while: its machine is overloaded, or was frozen.",
        remedy="Look at the machine's processor time and at what else runs there; run more daemons.",
        settings=("event_loop_lag_seconds",),
        find=event_loop_lag,
    ),
    Rule(
        name="descriptors",
        severity="warning",
        meaning="A daemon has nearly no file descriptors left, and will refuse connections.",
        remedy="Raise LimitNOFILE, lower `server.max_connections`, or run more daemons.",
        settings=("descriptors_bps",),
        find=descriptors,
    ),
)
