"""Ports of this machine for servers that a test stops and starts again."""

from __future__ import annotations

import secrets
import socket

_PORTS = range(10_000, 30_000)
"""Below those that the system gives to whoever asks for any port: 32768 and up on Linux, elsewhere 49152."""


def free_port(neighbours: int = 1) -> int:
    """A port that is free, as are the next ones, also while nobody listens there."""
    while True:
        first = secrets.choice(_PORTS)
        if all(map(_is_free, range(first, first + neighbours))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
