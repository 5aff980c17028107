"""The addresses of a running development system."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class Stack(Struct, frozen=True):
    """The URLs of a running system, the keypair file of its backend authority, and its zmartd.toml."""

    api: str
    ws: str
    operator: str
    """The operator's listener: /health with details, and /metrics."""
    rpc: str
    authority: Path
    configuration: Path
