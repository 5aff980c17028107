"""What the log says of failures that come again with each run: the traceback once, then ever fewer lines.

Metrics count all of them: runs by outcome, actions that are not ok, and accounts that cannot be read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from zmartd.errors import ZmartdError
from zmartd.log import get_logger

PAUSES_SECONDS: Final = (60.0, 300.0, 1_800.0, 3_600.0)
"""How long after a line about a failure the next one may come; the last one repeats."""
FORGOTTEN_SECONDS: Final = 7_200.0
"""A failure that was not seen for so long is a new one."""
MAX_FAILURES: Final = 10_000
"""How many are remembered: those that were seen last."""
_MAX_REASON: Final = 500

log = get_logger(__name__)

Key = tuple[str, ...]


class _Seen:
    """How often a failure was seen and told, and when it is told next."""

    __slots__ = ("last_at", "lines", "next_at", "times")

    def __init__(self, now: float) -> None:
        self.times = self.lines = 0
        self.last_at = self.next_at = now


class FailureLog:
    """What was told of failures in this process. Those of one kind, at one place in the code and about one
    subject are the same, whatever their messages say.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()

    def raised(self, action: str, subject: str, error: BaseException, **fields: Any) -> None:
        """Log that an exception was raised, if it is time for that; with its traceback when it is new."""
        self._tell((action, subject, *_place(error)), action, error, {"reason": _reason(error), **fields})

    def reported(self, action: str, subject: str, kind: str, **fields: Any) -> None:
        """Log a failure that is no exception, if it is time for that."""
        self._tell((action, subject, kind), action, None, fields)

    def _tell(self, key: Key, action: str, error: BaseException | None, fields: dict[str, Any]) -> None:
        seen = self._note(key)
        now = seen.last_at
        if now < seen.next_at:
            return
        pause = PAUSES_SECONDS[min(seen.lines, len(PAUSES_SECONDS) - 1)]
        is_new, seen.lines, seen.next_at = seen.lines == 0, seen.lines + 1, now + pause
        traceback = {"exc_info": error} if is_new and error is not None else {}
        log.error(action, **fields, times=seen.times, again_in_seconds=pause, **traceback)

    def _note(self, key: Key) -> _Seen:
        now = self._monotonic()
        seen = self._seen.pop(key, None)
        if seen is None or now - seen.last_at > FORGOTTEN_SECONDS:
            seen = _Seen(now)
        seen.times, seen.last_at = seen.times + 1, now
        self._seen[key] = seen
        if len(self._seen) > MAX_FAILURES:
            self._seen.popitem(last=False)
        return seen


def _place(error: BaseException) -> Key:
    """Which kind of exception it is, and where it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    kind = type(error).__qualname__
    if traceback is None:
        return (kind,)
    return kind, traceback.tb_frame.f_code.co_filename, str(traceback.tb_lineno)


def _reason(error: BaseException) -> str:
    message = error.message if isinstance(error, ZmartdError) else f"{type(error).__name__}: {error}"
    return message[:_MAX_REASON]
