"""Clients of nginx: each test's has an address of its own, all of this machine."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Protocol

import aiohttp


class Served(Protocol):
    """An nginx that runs."""

    url: str
    is_encrypted: bool
    authority: Path
    """The certificate that clients trust."""


def client_of(nginx: Served, address: str = "127.0.0.1", **options: Any) -> aiohttp.ClientSession:
    """A session that asks from `address`, one of 127.0.0.0/8, and trusts nginx's certificate."""
    connector = aiohttp.TCPConnector(
        family=socket.AF_INET,
        local_addr=(address, 0),
        limit=0,
        ssl=ssl.create_default_context(cafile=str(nginx.authority)) if nginx.is_encrypted else False,
    )
    return aiohttp.ClientSession(
        nginx.url, connector=connector, timeout=aiohttp.ClientTimeout(300), **options
    )
