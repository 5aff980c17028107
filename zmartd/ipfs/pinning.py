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


class PinPending(ZmartdError):
    """The pinning service has not fetched the document yet; the next run asks again."""

    code = "pin_pending"


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


class PinRequest(Struct, frozen=True):
    """What the service calls a request for a document, kept across runs."""

    known: str | None
    remember: Callable[[str | None], Awaitable[None]]


class Pinning(Protocol):
    """A place that keeps documents. Its methods may be called for many documents at a time."""

    async def pin(self, document: Document, request: PinRequest, until: float) -> None:
        """Return when the document is kept, whether it was before or not.

        Begins nothing after `until`, a time of the monotonic clock. Raises RemoteFailed, WrongContentId,
        PinPending, PinFailed, DirectoryUnusable.
        """


def require_cid(service: str, answered: object, document: Document) -> None:
    """Compare the content id in an answer, of either version, with the document's. Raises WrongContentId."""
    try:
        same = isinstance(answered, str) and ids.as_cid_v0(answered) == document.cid
    except ValueError:
        same = False
    if not same:
        raise WrongContentId(
            f"{service} names {str(answered)[:80]!r}, and the document is {document.cid}: it is not pinned"
        )
