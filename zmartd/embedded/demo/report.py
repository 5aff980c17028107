"""The report of a demonstration: its steps as they happen, and the result at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import UNSET, Struct, UnsetType

from zmartd.clock import Clock
from zmartd.errors import ZmartdError


class Step(Struct, frozen=True, omit_defaults=True):
    """One thing that was done to a market or checked; `market` is "" for none in particular."""

    market: str
    step: str
    ok: bool
    signature: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Audit(Struct, frozen=True):
    """How many markets and positions were compared with the chain, and how many differences were found."""

    markets: int
    positions: int
    differences: int


class DemoResult(Struct, frozen=True, kw_only=True):
    """The result. Without an audit, `audit` is all zeros and `ok` is false."""

    ok: bool
    seconds: float
    steps: tuple[Step, ...]
    ws_frames: int
    audit: Audit


Listener = Callable[[float, Step], None]
"""Is called with each step as it happens, and the seconds since the beginning."""


class Report:
    """Collects steps. The demonstration begins when it is made."""

    def __init__(self, clock: Clock, listener: Listener | None = None) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._listener = listener
        self._steps: list[Step] = []

    @property
    def seconds(self) -> float:
        return round(self._clock.monotonic() - self._began, 2)

    def add(self, market: str, step: str, *, ok: bool = True, signature: str = "", detail: str = "") -> None:
        done = Step(market, step, ok, signature or UNSET, detail or UNSET)
        self._steps.append(done)
        if self._listener is not None:
            self._listener(self.seconds, done)

    @contextmanager
    def failing_with(self, step: str) -> Iterator[None]:
        """Turn an exception of the block into a failed step, and continue after the block."""
        try:
            yield
        except Exception as error:
            message = error.message if isinstance(error, ZmartdError) else str(error)
            self.add("", step, ok=False, detail=f"{type(error).__name__}: {message}")

    def finish(self, ws_frames: int, audit: Audit | None) -> DemoResult:
        """The result: ok when every step was ok and an audit found no difference."""
        held = all(step.ok for step in self._steps)
        return DemoResult(
            ok=held and audit is not None and audit.differences == 0,
            seconds=self.seconds,
            steps=tuple(self._steps),
            ws_frames=ws_frames,
            audit=audit or Audit(0, 0, 0),
        )
