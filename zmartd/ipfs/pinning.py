"""Places that keep documents on IPFS, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.market import ids


class WrongContentId(ZmartdError):
    """A service names another content id than the document has."""

    code = "wrong_content_id"


class PinFailed(ZmartdError):
    """The pinning service could not pin the document; the next run asks anew."""

    code = "pin_failed"


class Document(Struct, frozen=True):
    """What is to be pinned."""

    cid: str
    """Its CIDv0."""
    content: bytes
    name: str
    """For people, in the lists of the service."""


class Unfulfilled(Struct, frozen=True):
    """A request that a service has taken, and will fulfil some time."""

    name: str
    """What the service calls it."""
    is_fulfilled: Callable[[float], Awaitable[bool]]
    """Asks the service whether the document is kept by now, until a time of the monotonic clock. Raises what
    `Pinning.pin` raises.
    """


class Pinning(Protocol):
    """A place that keeps documents. Its methods may be called for many documents at a time."""

    async def pin(self, document: Document, known: str | None, until: float) -> Unfulfilled | None:
        """Have the document kept, which it may be already; None where it is. `known` is what the service
        calls an earlier request for it.

        Begins nothing after `until`, a time of the monotonic clock. Raises RemoteFailed, WrongContentId,
        PinFailed, DirectoryUnusable.
        """


def require_cid(service: str, answered: str, cid: str) -> None:
    """Compare the content id in an answer, of either version, with the document's. Raises WrongContentId."""
    try:
        named = ids.as_cid_v0(answered)
    except ValueError:
        named = "no content id"  # not quoted, since it may be anything, also what was sent to the service
    if named != cid:
        raise WrongContentId(f"{service} names {named}, and the document is {cid}: it is not pinned")
