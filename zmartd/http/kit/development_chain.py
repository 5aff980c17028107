"""The chain of a development daemon: on this machine, with a faucet and a clock that moves."""

from __future__ import annotations

from typing import Final

from aiohttp.web import AppKey
from msgspec import Struct

from zmartd import endpoint
from zmartd.config import Settings


class DevelopmentChain(Struct, frozen=True):
    """Where pages of this machine reach the chain."""

    rpc_url: str
    """Scheme, host and port, and nothing that could be a secret."""


DEVELOPMENT_CHAIN: Final[AppKey[DevelopmentChain | None]] = AppKey("development_chain")


_NEXT_SECOND = (
    "The program wants a later second than that of the step before: wait a second, or `zmartd travel 1s`."
)
HINTS: Final = {"InvalidTimestamp": _NEXT_SECOND, "DisputePeriodEnded": _NEXT_SECOND}
"""What to do about errors of the program that come of going on at once, as people do only on such a chain."""


def development_chain(settings: Settings) -> DevelopmentChain | None:
    """The chain of a daemon that is for development as its settings say; None for every other daemon."""
    url = settings.solana.rpc_url.reveal()
    is_development = settings.server.is_development and settings.solana.cluster == "localnet"
    if not is_development or not endpoint.is_loopback_url(url):
        return None
    found = endpoint.read(url, endpoint.HTTP)
    return DevelopmentChain(f"{found.scheme}://{found.addresses[0]}")
