"""Secrets such as operators share with a daemon: long, without a pattern, the same in every run."""

from __future__ import annotations

import hashlib


def shared_secret(name: str) -> str:
    """64 characters, the same ones for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()
