"""What a rule of alerts is, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from zmartd.alert_settings import AlertSettings
from zmartd.store.alert_facts import IndexFacts
from zmartd.store.alerts import Severity
from zmartd.store.daemons import DaemonRow
from zmartd.store.due_markets import StuckMarkets

ALIVE_SECONDS: Final = 30.0
"""A daemon that has not reported for longer says nothing about the present. They do every five seconds."""


class ChainFacts(Struct, frozen=True, kw_only=True):
    """What the chain says."""

    authority: str
    """The backend authority of the program's configuration, base58."""
    authority_lamports: int
    ahead_seconds: float
    """How far the chain's clock is ahead of Postgres's."""
    stuck: tuple[StuckMarkets, ...]


class Facts(Struct, frozen=True, kw_only=True):
    """What the rules look at."""

    index: IndexFacts
    chain: ChainFacts | None
    """None while no node answers."""
    daemons: tuple[DaemonRow, ...]
    """The processes of the last hours, in the order of their starts."""

    @property
    def now(self) -> datetime:
        """By Postgres's clock."""
        return self.index.now

    @property
    def alive(self) -> list[DaemonRow]:
        """Those that serve now."""
        oldest = self.now - timedelta(seconds=ALIVE_SECONDS)
        return [one for one in self.daemons if one.stopped_at is None and one.seen_at >= oldest]


class Finding(Struct, frozen=True):
    """That a rule's threshold is exceeded."""

    value: float
    """What was measured, in the rule's unit."""
    summary: str
    """A sentence with what was measured and what is allowed."""
    subject: str = ""
    """What of several things it is about; empty: the whole."""


Find = Callable[[Facts, AlertSettings], Iterable[Finding] | None]
"""Gives what is found; None where that cannot be known at present, so that nothing changes."""


class Rule(Struct, frozen=True, kw_only=True):
    """A rule. docs/alerts.md has all of them, which a test compares."""

    name: str
    severity: Severity
    meaning: str
    """What has happened, a sentence."""
    remedy: str
    """What an operator does about it."""
    settings: tuple[str, ...]
    """The names of its thresholds in `[alerts]`."""
    find: Find
    lasts_seconds: float = 0.0
    """For how long it has to be found before somebody is told."""


def percent(part: int, whole: int) -> str:
    """A share for people; `whole` is not 0."""
    return f"{100 * part / whole:.1f} %"


def exceeds_bps(part: int, whole: int, bps: int) -> bool:
    """Whether `part` is more than so many hundredths of a percent of `whole`."""
    return part * 10_000 > whole * bps


def listed(examples: Iterable[str], number: int) -> str:
    """Some names, and how many more there are."""
    names = tuple(examples)
    more = f" and {number - len(names)} more" if number > len(names) else ""
    return f": {', '.join(names)}{more}" if names else ""
