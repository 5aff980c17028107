"""This machine's clock beside those of Postgres, Redis and the chain."""

from __future__ import annotations

from collections.abc import Sequence

from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient

_REMEDY = (
    "`timedatectl` shows whether the clock is set over the network; `timedatectl set-ntp true` turns it on"
)


async def _postgres(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        before = patient.clock.time()
        theirs = float(await connection.fetchval("select extract(epoch from clock_timestamp())::float8"))
        after = patient.clock.time()
    return [_outcome(patient, "Postgres", theirs, before, after)]


async def _redis(patient: Patient) -> Sequence[Outcome]:
    assert patient.redis is not None, "set by the check `redis`"
    before = patient.clock.time()
    seconds, microseconds = await patient.redis.time()
    after = patient.clock.time()
    return [_outcome(patient, "Redis", seconds + microseconds / 1e6, before, after)]


async def _chain(patient: Patient) -> Sequence[Outcome]:
    assert patient.chain_time is not None, "set by the check `rpc`"
    skew = patient.chain_time.unix_timestamp - patient.clock.time()
    allowed = patient.settings.alerts.chain_skew_seconds
    if abs(skew) <= allowed or patient.settings.solana.cluster == "localnet":
        return [ok(f"the chain's differs by {skew:+.0f} s")]
    return [warning(f"the chain's differs by {skew:+.0f} s, and {allowed:g} s are usual at most", _REMEDY)]


def _outcome(patient: Patient, whose: str, theirs: float, before: float, after: float) -> Outcome:
    """The journey there and back says nothing about the clocks, so half of it is not counted."""
    skew = theirs - (before + after) / 2
    certain = max(0.0, abs(skew) - (after - before) / 2)
    allowed = patient.settings.alerts.clock_skew_seconds
    if certain > allowed:
        return failed(f"{whose}'s differs by {skew:+.1f} s, and {allowed:g} s are allowed", _REMEDY)
    return ok(f"{whose}'s differs by {certain:.1f} s")


CHECKS = (
    Check(
        name="clock",
        look=_postgres,
        about="this machine's clock differs from Postgres's by no more than alerts.clock_skew_seconds",
        uses=("database.url",),
        needs=("database",),
    ),
    Check(
        name="clock of redis",
        look=_redis,
        about="the same of Redis's clock",
        uses=("redis.url",),
        needs=("redis",),
    ),
    Check(
        name="clock of the chain",
        look=_chain,
        about="the chain's clock differs by no more than alerts.chain_skew_seconds; not on a localnet",
        uses=("solana.rpc_url",),
        needs=("rpc",),
    ),
)
