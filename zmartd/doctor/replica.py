"""The replica: whether it is one of this database, can be used and keeps up. Daemons work without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zmartd.doctor.check import Check, Outcome, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.store.postgres.replica import Replica
from zmartd.store.postgres.replica_errors import ReplicaUnusable

ANSWER_SECONDS: Final = 20.0
"""How long it may take to replay what the primary had when the check began, twice that."""
SLOW_SECONDS: Final = 0.1
"""A replica that takes longer to have what was written is passed over by readers meanwhile."""


async def _replica(patient: Patient) -> Sequence[Outcome]:
    settings, clock = patient.settings.database, patient.clock
    if not settings.replica_url:
        return [ok("there is none")]
    replica = Replica(settings, clock, look_seconds=ANSWER_SECONDS)
    patient.resources.push_async_callback(replica.close)
    try:
        await replica.require_usable()
        began = clock.monotonic()
        await replica.require_usable()
    except ReplicaUnusable as error:
        return [warning(error.message, f"{CHECKS[0].remedy}; until then the primary answers")]
    seconds = clock.monotonic() - began
    if seconds > SLOW_SECONDS:
        return [
            warning(
                f"the replica had what the primary has after {seconds * 1_000:.0f} ms",
                "look at the network and the disk of the replica: while it is behind the primary answers",
            )
        ]
    return [ok(f"the replica had what the primary has after {seconds * 1_000:.0f} ms")]


CHECKS = (
    Check(
        name="replica",
        look=_replica,
        about="whether database.replica_url leads to a replica of this database that keeps up",
        uses=("database.url", "database.replica_url"),
        needs=("migrations",),
        remedy="look at the replica's log and at pg_stat_replication of the primary",
    ),
)
