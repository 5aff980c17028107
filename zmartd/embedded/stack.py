"""Where a running development system can be reached: all that a client of it needs to know."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class Stack(Struct, frozen=True):
    """The doors of a running system, and the keypair file of its backend authority."""

    api: str
    ws: str
    operator: str
    """For the operator alone: /health with details, and /metrics."""
    rpc: str
    authority: Path
