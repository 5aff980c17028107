"""Pinning through the IPFS Pinning Service API, whose services fetch what they pin from a node of ours.

https://ipfs.github.io/pinning-services-api-spec/ and https://docs.ipfs.tech/reference/kubo/rpc/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.ipfs.pinning import Document, PinFailed, PinPending, PinRequest, WrongContentId, require_cid
from zmartd.ipfs.remote import Remote, RemoteFailed, RemoteRefused

FIRST_POLL_SECONDS: Final = 1.0
LONGEST_POLL_SECONDS: Final = 30.0
_NOT_FOUND: Final = 404
_AS_ADDED: Final = {
    "cid-version": "0",
    "raw-leaves": "false",
    "chunker": "size-262144",
    "pin": "true",
    "quieter": "true",
    "progress": "false",
}

T = TypeVar("T")


class _Pin(Struct, frozen=True):
    cid: str


class _PinStatus(Struct, frozen=True):
    requestid: str
    status: Literal["queued", "pinning", "pinned", "failed"]
    pin: _Pin


class _PinList(Struct, frozen=True):
    results: tuple[_PinStatus, ...]


class _Added(Struct, frozen=True, rename="pascal"):
    hash: str


class PinningService:
    """A `Pinning`: the document is added to the node, and the service is asked until it has fetched it."""

    def __init__(self, service: Remote, node: Remote, node_addresses: Sequence[str], clock: Clock) -> None:
        self._service = service
        self._node = node
        self._addresses = list(node_addresses)
        self._clock = clock

    async def pin(self, document: Document, request: PinRequest, until: float) -> None:
        """Raises RemoteFailed, WrongContentId, PinPending, PinFailed."""
        await self._add(document, until)
        found = await self._requested(document, request, until)
        pause = FIRST_POLL_SECONDS
        while True:
            self._require(self._service, found.pin.cid, document)
            if found.status == "pinned":
                return
            if found.status == "failed":
                await request.remember(None)
                self._service.count_failure("failed")
                raise PinFailed
            if self._clock.monotonic() + pause > until:
                self._service.count_failure("pending")
                raise PinPending(
                    f"{self._service.name} has not fetched the document yet; the next run asks again"
                )
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL_SECONDS)
            found = await self._asked("GET", _path(found.requestid), until)

    async def _add(self, document: Document, until: float) -> None:
        file = (f"{document.cid}.json", document.content, "application/json")
        answer = await self._node.call(
            "POST", "/api/v0/add", until=until, query=_AS_ADDED, files={"file": file}
        )
        self._require(self._node, self._decoded(self._node, answer, _Added).hash, document)

    async def _requested(self, document: Document, request: PinRequest, until: float) -> _PinStatus:
        """The service's request for the document: of an earlier run, or a new one."""
        found = None
        if request.known is not None:
            found = await self._known(request.known, until)
        if found is None:
            found = await self._search(document, until)
        if found is None:
            wanted: dict[str, Any] = {"cid": document.cid, "name": document.name}
            if self._addresses:
                wanted["origins"] = self._addresses
            found = await self._asked("POST", "/pins", until, json=wanted)
        self._require(self._service, found.pin.cid, document)
        if found.requestid != request.known and found.status != "pinned":
            await request.remember(found.requestid)
        return found

    async def _known(self, requestid: str, until: float) -> _PinStatus | None:
        """What became of an earlier request; None where the service has forgotten it or has failed."""
        try:
            found = await self._asked("GET", _path(requestid), until)
        except RemoteRefused as error:
            if error.status != _NOT_FOUND:
                raise
            return None
        return None if found.status == "failed" else found

    async def _search(self, document: Document, until: float) -> _PinStatus | None:
        """A request for the document that was answered and not remembered, before a process died."""
        answer = await self._service.call(
            "GET", "/pins", until=until, query={"cid": document.cid, "status": "queued,pinning,pinned"}
        )
        found = self._decoded(self._service, answer, _PinList).results
        return found[0] if found else None

    async def _asked(self, method: str, path: str, until: float, **content: Any) -> _PinStatus:
        answer = await self._service.call(method, path, until=until, **content)
        return self._decoded(self._service, answer, _PinStatus)

    def _decoded(self, remote: Remote, answer: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeError):
            remote.count_failure("unreadable")
            raise RemoteFailed(f"{remote.name}'s answer cannot be read") from None

    def _require(self, remote: Remote, cid: str, document: Document) -> None:
        try:
            require_cid(remote.name, cid, document)
        except WrongContentId:
            remote.count_failure("wrong content id")
            raise


def _path(requestid: str) -> str:
    return f"/pins/{quote(requestid, safe='')}"
