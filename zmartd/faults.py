"""Points on the paths where nothing may be lost or done twice, at which a test can end the process.

Only code inside the process can act on them: no setting, no variable and no request does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Point(StrEnum):
    """Every point there is. Each is named for what has just been done."""

    INBOX_READ = "inbox.read"
    """A delivery is understood, and nothing of it is kept."""
    INBOX_WRITTEN = "inbox.written"
    """Written with others, not committed."""
    INBOX_COMMITTED = "inbox.committed"
    """Durable, and not acknowledged."""
    INBOX_TAKEN = "inbox.taken"
    """Locked, to be worked off."""
    INBOX_APPLIED = "inbox.applied"
    """In the index, and still waiting in the inbox."""
    INBOX_FINISHED = "inbox.finished"
    """Off the queue, not committed."""
    INBOX_SETTLED = "inbox.settled"

    APPLY_UNDONE = "apply.undone"
    """Transactions that left the chain are taken back, not committed."""
    APPLY_RECORDED = "apply.recorded"
    """Events are written, none of their effects is."""
    APPLY_COUNTED = "apply.counted"
    """Trades, positions and votes are written, their markets are not."""
    APPLY_SETTLED = "apply.settled"
    """All is written, nothing is committed."""
    APPLY_COMMITTED = "apply.committed"
    """True, and nobody has been told."""
    PUBLISH_BEGUN = "publish.begun"
    PUBLISH_DONE = "publish.done"

    RELAY_TRIED = "relay.tried"
    """A wallet's transaction would succeed, and nothing of it is kept."""
    SENDER_RECORDED = "sender.recorded"
    """In the outbox, not sent."""
    SENDER_SENT = "sender.sent"
    """With the node, its fate unknown."""
    SENDER_ENDED = "sender.ended"
    """Its fate is known, the outbox does not know it."""
    SENDER_SETTLED = "sender.settled"
    RELAY_LANDED = "relay.landed"
    """On the chain, and not fetched from there."""
    RELAY_INDEXED = "relay.indexed"
    """In the index, and not answered."""

    AUTHORITY_SIGNED = "authority.signed"
    """A task's transaction exists, in this process only."""
    AUTHORITY_CLAIMED = "authority.claimed"
    """In the outbox, not committed."""
    AUTHORITY_RECORDED = "authority.recorded"
    """In the outbox, not sent."""
    AUTHORITY_LANDED = "authority.landed"
    """On the chain, and not in the index."""
    AUTHORITY_INDEXED = "authority.indexed"

    RECONCILER_REPAIRED = "reconciler.repaired"
    """What was missing is in the index, and the cursor stands before it."""
    RECONCILER_ADVANCED = "reconciler.advanced"


Action = Callable[[Point], Awaitable[None]]


class _Watch:
    action: Action | None = None


async def reached(point: Point) -> None:
    """Mark that the process is at `point`; nothing happens, unless a test watches."""
    if _Watch.action is not None:
        await _Watch.action(point)


@contextmanager
def watching(action: Action) -> Iterator[None]:
    """Await `action` at every point that this process reaches, for the length of a block."""
    assert _Watch.action is None, "one watches at a time"
    _Watch.action = action
    try:
        yield
    finally:
        _Watch.action = None
