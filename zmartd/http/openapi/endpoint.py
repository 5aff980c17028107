"""GET /api/openapi.json: the document, made when somebody first asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import msgspec
from aiohttp import web

from zmartd.chain.idl import Idl
from zmartd.http import keys
from zmartd.http.openapi.document import openapi
from zmartd.http.operation import Operation, Raw
from zmartd.http.unchanging import Unchanging

_MEDIA_TYPE = "application/json"


class Published:
    """The document about `operations`, encoded once."""

    def __init__(self, operations: Sequence[Operation], idl: Idl) -> None:
        self._operations = operations
        self._idl = idl

    @cached_property
    def document(self) -> Unchanging:
        return Unchanging(msgspec.json.encode(openapi(self._operations, self._idl)), _MEDIA_TYPE)


async def openapi_document(request: web.Request) -> web.Response:
    """What this is a part of."""
    return request.app[keys.OPENAPI].document.answer(request)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/openapi.json",
        handler=openapi_document,
        summary="The API's OpenAPI 3.1 document",
        tag="documentation",
        answers={200: Raw(_MEDIA_TYPE), 304: None},
    ),
)
