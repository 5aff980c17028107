"""Pinning through the IPFS Pinning Service API, whose services fetch what they pin from a node of ours.

https://ipfs.github.io/pinning-services-api-spec/ and https://docs.ipfs.tech/reference/kubo/rpc/
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from zmartd.ipfs.pinning import Document, PinFailed, Unfulfilled, WrongContentId, require_cid
from zmartd.ipfs.remote import Remote, RemoteFailed, RemoteRefused

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
    requestid: Annotated[str, Meta(pattern="^[!-~]{1,255}$")]
    status: Literal["queued", "pinning", "pinned", "failed"]
    pin: _Pin


class _PinList(Struct, frozen=True):
    results: tuple[_PinStatus, ...]


class _Added(Struct, frozen=True, rename="pascal"):
    hash: str


class PinningService:
    """A `Pinning`: the document is added to the node, and the service is asked to fetch it there."""

    def __init__(self, service: Remote, node: Remote, node_addresses: Sequence[str]) -> None:
        self._service = service
        self._node = node
        self._addresses = list(node_addresses)

    async def pin(self, document: Document, known: str | None, until: float) -> Unfulfilled | None:
        """Raises RemoteFailed, WrongContentId, PinFailed."""
        found = None if known is None else await self._known(known, until)
        if found is None:
            await self._add(document, until)
            found = await self._search(document, until) or await self._request(document, until)
        if self._is_pinned(found, document.cid):
            return None
        return Unfulfilled(found.requestid, partial(self._is_fulfilled, found.requestid, document.cid))

    async def _is_fulfilled(self, requestid: str, cid: str, until: float) -> bool:
        return self._is_pinned(await self._asked("GET", _path(requestid), until), cid)

    def _is_pinned(self, found: _PinStatus, cid: str) -> bool:
        self._require(self._service, found.pin.cid, cid)
        if found.status == "failed":
            self._service.count_failure("failed")
            raise PinFailed
        return found.status == "pinned"

    async def _add(self, document: Document, until: float) -> None:
        file = (f"{document.cid}.json", document.content, "application/json")
        answer = await self._node.call(
            "POST", "/api/v0/add", until=until, query=_AS_ADDED, files={"file": file}
        )
        self._require(self._node, self._decoded(self._node, answer, _Added).hash, document.cid)

    async def _request(self, document: Document, until: float) -> _PinStatus:
        wanted: dict[str, Any] = {"cid": document.cid, "name": document.name}
        if self._addresses:
            wanted["origins"] = self._addresses
        return await self._asked("POST", "/pins", until, json=wanted)

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

    def _require(self, remote: Remote, answered: str, cid: str) -> None:
        try:
            require_cid(remote.name, answered, cid)
        except WrongContentId:
            remote.count_failure("wrong content id")
            raise


def _path(requestid: str) -> str:
    return f"/pins/{quote(requestid, safe='')}"
