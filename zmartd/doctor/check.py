"""What a check declares, and what it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from zmartd.doctor.patient import Patient

PATIENCE_SECONDS: Final = 30.0
"""How long a check may take."""

Verdict = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found: `detail` is the fact or the cause, `remedy` the command or change that mends it."""

    verdict: Verdict
    detail: str
    remedy: str = ""
    fix: Callable[[], Awaitable[None]] | None = None
    """Does what `remedy` says, where that can break nothing."""


def ok(detail: str) -> Outcome:
    return Outcome("ok", detail)


def warning(detail: str, remedy: str, fix: Callable[[], Awaitable[None]] | None = None) -> Outcome:
    """The daemon can work, and somebody should look at it."""
    return Outcome("warning", detail, remedy, fix)


def failed(detail: str, remedy: str, fix: Callable[[], Awaitable[None]] | None = None) -> Outcome:
    """The daemon would not start, or would do something wrong."""
    return Outcome("failed", detail, remedy, fix)


Look = Callable[["Patient"], Awaitable[Sequence[Outcome]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One subject that is looked at."""

    name: str
    look: Look
    about: str
    """What it looks at, for the documentation."""
    uses: tuple[str, ...] = ()
    """The settings without which it cannot look."""
    needs: tuple[str, ...] = ()
    """The checks that must not have failed before."""
    remedy: str = "look at the log of what was asked, and run `zmartd check` again"
    """What to do where an error says only the cause."""
    patience_seconds: float = PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome with the name of its check."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    fixed: bool = False
    """Whether it was mended in this run."""

    @property
    def ok(self) -> bool:
        """Whether the daemon can work; it can with a warning."""
        return self.verdict != "failed"
