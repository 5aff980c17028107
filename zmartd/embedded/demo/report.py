"""What a demonstration did, for people as it happens and for programs at the end."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec
from msgspec import UNSET, Struct, UnsetType


class Step(Struct, frozen=True, omit_defaults=True):
    """One thing that was done to a market."""

    market: str
    step: str
    ok: bool
    signature: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Audit(Struct, frozen=True):
    """How the API's numbers compare with the chain's accounts."""

    markets: int
    positions: int
    differences: int


class DemoResult(Struct, frozen=True, kw_only=True):
    """The whole demonstration; ok only if everything held."""

    ok: bool
    seconds: float
    steps: tuple[Step, ...]
    ws_frames: int
    audit: Audit

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()


class Report:
    """Collects steps; `live` prints each as it happens."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._started = time.monotonic()
        self.steps: list[Step] = []

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 2)

    def add(self, market: str, step: str, *, ok: bool = True, signature: str = "", detail: str = "") -> None:
        done = Step(market, step, ok, signature or UNSET, detail or UNSET)
        self.steps.append(done)
        if self._live:
            mark = click.style("✓", fg="green") if ok else click.style("✗", fg="red")
            click.echo(
                f"{self.seconds:6.1f} s  {mark}  {market:<2} {step:<34} {_short(signature):<14} {detail}"
            )

    def finish(self, ws_frames: int, audit: Audit) -> DemoResult:
        ok = all(step.ok for step in self.steps) and audit.differences == 0
        result = DemoResult(
            ok=ok, seconds=self.seconds, steps=tuple(self.steps), ws_frames=ws_frames, audit=audit
        )
        if self._live:
            click.echo(_summary(result))
        return result


def _short(signature: str) -> str:
    return f"{signature[:6]}…{signature[-6:]}" if signature else ""


def _summary(result: DemoResult) -> str:
    facts: list[tuple[str, Any]] = [
        ("steps", len(result.steps)),
        ("failed", sum(not step.ok for step in result.steps)),
        ("WebSocket frames", result.ws_frames),
        ("markets compared with the chain", result.audit.markets),
        ("positions compared with the chain", result.audit.positions),
        ("differences", result.audit.differences),
        ("seconds", result.seconds),
    ]
    verdict = "everything held" if result.ok else "SOMETHING DID NOT HOLD"
    return "\n" + "\n".join(f"  {name:<36} {value:>8}" for name, value in facts) + f"\n\n  {verdict}"
