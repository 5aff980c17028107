"""Whether a daemon can vouch that its clients have everything, and if not, which part does not work."""

from __future__ import annotations

from typing import Final, Literal

from zmartd.realtime.followed import Look
from zmartd.store.pulses import Pulse

Reason = Literal["database", "indexer", "redis", "chain"]
REASONS: Final[tuple[Reason, ...]] = ("database", "indexer", "redis", "chain")

DATABASE_SECONDS: Final = 5.0
"""How old the last look at the database may be, of which everything has been told."""
INDEXER_SECONDS: Final = 6.0
"""How old the pulse may be that the database shows."""
REDIS_SECONDS: Final = 3.0
"""How much later a pulse may arrive through Redis than through the database."""
MAX_AHEAD: Final = 5
"""How many pulses may have come through Redis before the database shows them."""
CHAIN_SECONDS: Final = 5.0
"""How long no node may have told another slot, at a pulse."""
BEHIND_SECONDS: Final = 4.0
"""How long the index may have lacked the same transaction, at a pulse. The node is asked about as often."""


class Vouching:
    """Judges what a daemon has got of the pulse by both of its ways: the database, and Redis."""

    def __init__(self, now: float) -> None:
        """`now`: by the monotonic clock. Everything counts as having worked until then."""
        self.vouched: Pulse | None = None
        """The newest pulse that came by both ways, and before which everything has been told."""
        self.reasons: tuple[Reason, ...] = ()
        self._told_at = now
        self._number = 0
        self._looked_at = now
        self._raised_at = now
        self._heard_at = now

    def judge(
        self, now: float, look: Look | None, told: Look | None, heard: Pulse | None, *, is_listening: bool
    ) -> bool:
        """Judge anew, and say whether the reasons have changed.

        `look`: the last look at the database; `told`: the last of which everything has been told; `heard`:
        the last pulse that came through Redis.
        """
        seen = None if look is None else look.pulse
        if told is not None:
            self._told_at = told.began_at
        if look is not None:
            self._looked_at = look.began_at
        if seen is not None and seen.number != self._number:
            self._number, self._raised_at = seen.number, self._looked_at
        if is_listening and (seen is None or _is_heard(seen, heard)):
            self._heard_at = now
            if told is not None and told.pulse is not None:
                self.vouched = told.pulse
        newest = heard if heard is not None and (seen is None or heard.number > seen.number) else seen
        failing: dict[Reason, bool] = {
            "database": now - self._told_at > DATABASE_SECONDS,
            # As of the last look: while the database does not answer, the pulse may be raised all the same.
            "indexer": self._looked_at - self._raised_at > INDEXER_SECONDS or _is_behind(newest),
            "redis": now - self._heard_at > REDIS_SECONDS,
            "chain": newest is not None and newest.newest_seconds > CHAIN_SECONDS,
        }
        reasons = tuple(reason for reason in REASONS if failing[reason])
        changed, self.reasons = reasons != self.reasons, reasons
        return changed


def _is_heard(seen: Pulse, heard: Pulse | None) -> bool:
    """Whether the pulse that the database shows has come through Redis, or a later one.

    One that is far ahead is from before the database was set back.
    """
    return heard is not None and 0 <= heard.number - seen.number <= MAX_AHEAD


def _is_behind(pulse: Pulse | None) -> bool:
    """Whether the index has lacked the same transaction for long, while a node told later slots."""
    if pulse is None or pulse.raised_seconds <= BEHIND_SECONDS:
        return False
    return pulse.raised_seconds - pulse.newest_seconds > BEHIND_SECONDS / 2
