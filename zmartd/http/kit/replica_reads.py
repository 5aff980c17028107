"""Answers that may be read from the replica: each from there as a whole, or else from the primary as a whole.

So no answer is made of two states of the database, and its position in a stream is that of what it shows.
Whatever is wrong with the replica, the caller notices nothing but the time that it took to find that out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from zmartd.http.kit import keys
from zmartd.http.kit.operation import Call
from zmartd.http.kit.own_positions import own_position
from zmartd.metrics import Counter
from zmartd.store.postgres.replica_errors import ReplicaUnusable

Answer = TypeVar("Answer")

READS: Final = Counter(
    "zmartd_replica_reads",
    "Answers that may be read from a replica, where there is one: read there, or why from the primary.",
    ["outcome"],
)
for _outcome in ("replica", "away", "behind", "conflict", "slow", "unknown"):
    READS.labels(_outcome)


async def read_somewhere(call: Call[Any], answer: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `answer` gives, which reads from `call.database` and does nothing but read.

    It is called a second time, with the primary, where the replica fails.
    """
    replica = call.app[keys.REPLICA]
    if not replica.is_configured:
        return await answer()
    try:
        call.replica = await replica.source(await own_position(call.app, call.caller.wallet))
        found = await answer()
    except ReplicaUnusable as error:
        READS.labels(error.reason).inc()
    else:
        READS.labels("replica").inc()
        return found
    call.replica = None
    return await answer()
