"""When periodic work is due: every so many seconds, or by a cron expression in a time zone.

All instants are in UTC. Every daemon computes the same ones, whenever it was started.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

MIN_EVERY_SECONDS: Final = 0.1
MAX_EVERY_SECONDS: Final = 31_536_000.0
STRETCH_INSTANTS: Final = 1_000
"""The most instants of a cron expression that are computed at once, in some hundredths of a second."""

CRON_FORM: Final = (
    "write five fields, minute, hour, day of the month, month and day of the week, like */5 * * * * or "
    "30 4 * * MON-FRI"
)
ZONE_FORM: Final = "write the name of a time zone, like UTC or Europe/Berlin"

CatchUp = Literal["none", "last", "all"]
"""What becomes of instants that no daemon ran in time: none of them is run, only the newest, or each."""
Overlap = Literal["skip"]
"""What becomes of an instant that comes while a run goes on."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EVERY: Final = re.compile(r"every ([0-9.]+) s")
_FIELDS: Final = 5


class Stretch(Struct, frozen=True):
    """Instants in a row."""

    first: datetime
    last: datetime
    instants: int
    is_whole: bool = True
    """Whether these are all that were asked for, and not only the first of them."""


class Every(Struct, frozen=True, dict=True):
    """The multiples of `seconds` since 1970, to the microsecond. Raises ValueError."""

    seconds: float

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float):
            raise TypeError("the seconds of `Every` must be a number")
        if not MIN_EVERY_SECONDS <= self.seconds <= MAX_EVERY_SECONDS:
            raise ValueError(
                f"the seconds of `Every` must be from {MIN_EVERY_SECONDS} to {MAX_EVERY_SECONDS:.0f}"
            )

    @property
    def text(self) -> str:
        """As `read_timing` reads it."""
        return f"every {self.seconds:.6f}".rstrip("0").rstrip(".") + " s"

    def next_after(self, instant: datetime) -> datetime:
        return self._multiple(self._number(instant) + 1)

    def first(self, now: datetime) -> datetime:
        """The instant with which a ledger begins that does not know the task yet: it is due at once."""
        return self._multiple(self._number(now))

    def stretch(self, after: datetime, until: datetime) -> Stretch | None:
        """The instants later than `after` and not later than `until`; None where there are none."""
        before, last = self._number(after), self._number(until)
        if last <= before:
            return None
        return Stretch(self._multiple(before + 1), self._multiple(last), last - before)

    @cached_property
    def _microseconds(self) -> int:
        return round(self.seconds * 1_000_000)

    def _number(self, instant: datetime) -> int:
        """Of the newest multiple that is not later than `instant`."""
        return (instant - _EPOCH) // _MICROSECOND // self._microseconds

    def _multiple(self, number: int) -> datetime:
        return _EPOCH + number * self._microseconds * _MICROSECOND


class Cron(Struct, frozen=True):
    """The instants of a cron expression on the clocks of `time_zone`. Raises ValueError.

    Where clocks are moved it follows Debian's cron (https://manpages.debian.org/cron.8): what has fixed hours
    runs once, also when its hour comes twice, and right after the shift when its hour is left out; what has a
    star for its minutes or hours goes on by the time that passes.
    """

    expression: str
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        require_cron(self.expression)
        require_time_zone(self.time_zone)

    @property
    def text(self) -> str:
        """As `read_timing` reads it."""
        return f"{' '.join(self.expression.split())} {self.time_zone}"

    def next_after(self, instant: datetime) -> datetime:
        return next(self._after(instant))

    def first(self, now: datetime) -> datetime:
        """The instant with which a ledger begins that does not know the task yet: the next one."""
        return self.next_after(now)

    def stretch(self, after: datetime, until: datetime) -> Stretch | None:
        """The instants later than `after` and not later than `until`, up to STRETCH_INSTANTS; None: none."""
        instants: list[datetime] = []
        for instant in self._after(after):
            if instant > until:
                break
            if len(instants) == STRETCH_INSTANTS:
                return Stretch(instants[0], instants[-1], len(instants), is_whole=False)
            instants.append(instant)
        return Stretch(instants[0], instants[-1], len(instants)) if instants else None

    def _after(self, instant: datetime) -> Iterator[datetime]:
        # In the hour that comes twice cronsim may begin with an instant of its first time.
        for local in CronSim(self.expression, instant.astimezone(ZoneInfo(self.time_zone))):
            found = local.astimezone(UTC)
            if found > instant:
                yield found


Timing = Every | Cron


class Schedule(Struct, frozen=True, kw_only=True):
    """When a task runs, for how long at most, and what becomes of instants at which it cannot. Raises
    ValueError.
    """

    timing: Timing
    time_limit_seconds: float = 3_600.0
    """A run that takes longer is cancelled, and has failed."""
    overlap: Overlap = "skip"
    catch_up: CatchUp = "last"

    def __post_init__(self) -> None:
        if not isinstance(self.timing, Every | Cron):
            raise TypeError("the timing of a schedule must be `Every` or `Cron`")
        if not 0 < self.time_limit_seconds <= MAX_EVERY_SECONDS:
            raise ValueError("`time_limit_seconds` must be greater than 0 and not more than a year")
        if self.overlap != "skip":
            raise ValueError("`overlap` must be 'skip'")
        if self.catch_up not in ("none", "last", "all"):
            raise ValueError("`catch_up` must be 'none', 'last' or 'all'")


def read_timing(text: str) -> Timing:
    """What `text` of a timing says. Raises ValueError."""
    every = _EVERY.fullmatch(text)
    if every:
        return Every(float(every[1]))
    expression, _, time_zone = text.rpartition(" ")
    return Cron(expression, time_zone)


def require_cron(expression: str) -> None:
    """Raises ValueError unless it is a cron expression that comes to an instant."""
    if len(expression.split()) != _FIELDS:
        raise ValueError(CRON_FORM)
    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"{CRON_FORM} ({error})") from error
    except StopIteration:
        raise ValueError(f"{CRON_FORM}; this one never comes") from None


def require_time_zone(name: str) -> None:
    """Raises ValueError unless it is a time zone's name."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(ZONE_FORM) from error
