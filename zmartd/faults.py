"""Fault points: where nothing may be lost or done twice, and where a test can kill the process.

Only code inside the process can act at them: no setting, environment variable or request does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Point(StrEnum):
    """All fault points. Each is named for the step that has just been done."""

    INBOX_READ = "inbox.read"
    """A delivery is parsed, and nothing of it is stored."""
    INBOX_WRITTEN = "inbox.written"
    """It is written in one transaction with others, and not committed."""
    INBOX_COMMITTED = "inbox.committed"
    """It is committed, and not acknowledged."""
    INBOX_TAKEN = "inbox.taken"
    """It is locked for processing."""
    INBOX_APPLIED = "inbox.applied"
    """It is indexed, and still in the inbox."""
    INBOX_FINISHED = "inbox.finished"
    """It is removed from the inbox, and not committed."""
    INBOX_SETTLED = "inbox.settled"

    APPLY_UNDONE = "apply.undone"
    """Transactions that left the chain are rolled back, not committed."""
    APPLY_RECORDED = "apply.recorded"
    """Events are written, and none of their effects."""
    APPLY_COUNTED = "apply.counted"
    """Trades, positions and votes are written, and not their markets."""
    APPLY_SETTLED = "apply.settled"
    """Markets are written, and not the messages about them."""
    APPLY_APPENDED = "apply.appended"
    """Everything is written, and nothing is committed."""
    APPLY_COMMITTED = "apply.committed"
    """Everything is committed, and nothing is published."""
    PUBLISH_BEGUN = "publish.begun"
    PUBLISH_DONE = "publish.done"

    RELAY_TRIED = "relay.tried"
    """A wallet's transaction was simulated successfully, and nothing of it is stored."""
    SENDER_RECORDED = "sender.recorded"
    """The transaction is in the outbox, and not sent."""
    SENDER_SENT = "sender.sent"
    """It is sent, and its fate is unknown."""
    SENDER_ENDED = "sender.ended"
    """Its fate is known, and not recorded in the outbox."""
    SENDER_SETTLED = "sender.settled"
    RELAY_LANDED = "relay.landed"
    """It is on the chain, and not fetched."""
    RELAY_INDEXED = "relay.indexed"
    """It is indexed, and not answered."""

    TASK_PROMPTED = "task.prompted"
    """A market that is due has prompted a run, and nobody has begun it."""
    AUTHORITY_SIGNED = "authority.signed"
    """A task's transaction exists only in this process."""
    AUTHORITY_CLAIMED = "authority.claimed"
    """It is in the outbox, and not committed."""
    AUTHORITY_RECORDED = "authority.recorded"
    """The transaction is in the outbox, and not sent."""
    AUTHORITY_LANDED = "authority.landed"
    """It is on the chain, and not indexed."""
    AUTHORITY_INDEXED = "authority.indexed"

    RECONCILER_REPAIRED = "reconciler.repaired"
    """Missing transactions are indexed, and the checkpoint is not advanced."""
    RECONCILER_ADVANCED = "reconciler.advanced"


PointCallback = Callable[[Point], Awaitable[None]]


class _Watch:
    callback: PointCallback | None = None


async def reached(point: Point) -> None:
    """Mark that the process is at `point`, and await the test's callback, if there is one."""
    if _Watch.callback is not None:
        await _Watch.callback(point)


@contextmanager
def watching(callback: PointCallback) -> Iterator[None]:
    """Await `callback` at every point that this process reaches, for the length of a block."""
    assert _Watch.callback is None, "another callback is set"
    _Watch.callback = callback
    try:
        yield
    finally:
        _Watch.callback = None
