"""GET /api/openapi.json: the document, made when somebody first asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from zmartd.chain.idl import Idl
from zmartd.http.kit.etags import TaggedAnswer
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json


class Published:
    """The document about `operations`, encoded once."""

    def __init__(self, operations: Sequence[Operation[Any]], idl: Idl) -> None:
        self._operations = operations
        self._idl = idl
        self._document: TaggedAnswer | None = None

    async def document(self) -> TaggedAnswer:
        """Made in a thread: it takes a tenth of a second, which other requests should not wait for."""
        if self._document is None:
            self._document = await asyncio.to_thread(self._encoded)
        return self._document

    def _encoded(self) -> TaggedAnswer:
        return TaggedAnswer.of(msgspec.json.encode(openapi(self._operations, self._idl)), "application/json")


OPENAPI: Final[web.AppKey[Published]] = web.AppKey("openapi")


async def openapi_document(call: Call[None]) -> web.Response:
    """What this is a part of."""
    document = await call.app[OPENAPI].document()
    return document.to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/openapi.json",
        handler=openapi_document,
        summary="The API's OpenAPI 3.1 document",
        tag="documentation",
        answers={200: Json, 304: None},
    ),
)
