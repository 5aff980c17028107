"""The routes of the AsyncAPI document, and of the page that shows it."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
from aiohttp import web

from zmartd.http.asyncapi.document import asyncapi
from zmartd.http.asyncapi.page import page
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.lazy_response import LazyResponse
from zmartd.http.kit.operation import Access, Call, NonJson, Operation
from zmartd.http.openapi.routes import InMemory, content_security_policy
from zmartd.http.openapi.schemas import Json

ASYNCAPI: Final[web.AppKey[LazyResponse]] = web.AppKey("asyncapi")
WEBSOCKET_PAGE: Final[web.AppKey[LazyResponse]] = web.AppKey("websocket page")

_document = cache(asyncapi)


def setup(app: web.Application) -> None:
    """Set ASYNCAPI and WEBSOCKET_PAGE."""
    app[ASYNCAPI] = LazyResponse(lambda: TaggedResponse.of(msgspec.json.encode(_document())))
    app[WEBSOCKET_PAGE] = LazyResponse(_page)


def _page() -> TaggedResponse:
    response = TaggedResponse.of(page(_document()).encode(), "text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = content_security_policy(None)
    return response


async def asyncapi_document(call: Call[None]) -> web.Response:
    """What goes over the WebSocket: every frame, message, close code and error."""
    return (await call.app[ASYNCAPI].get()).respond_to(call.request)


async def websocket_page(call: Call[None]) -> web.Response:
    return (await call.app[WEBSOCKET_PAGE].get()).respond_to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/asyncapi.json",
        handler=asyncapi_document,
        name="get_asyncapi_document",
        summary="Get the WebSocket's AsyncAPI 3 document",
        tag="documentation",
        access=Access.PUBLIC,
        responses={200: Json},
        cache=InMemory(lambda app, _: app[ASYNCAPI].made),
    ),
)

DOCS_OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/docs/websocket",
        handler=websocket_page,
        name="get_docs_websocket",
        summary="Read what goes over the WebSocket",
        tag="documentation",
        access=Access.PUBLIC,
        responses={200: NonJson("text/html")},
        cache=InMemory(lambda app, _: app[WEBSOCKET_PAGE].made),
    ),
)
"""For pages of the daemon's own origin only."""
