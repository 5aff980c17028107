"""From a request to its handler: everything that an operation declares happens here, for every operation.

In this order, and each step refuses with an error:

1. a kept answer is given from memory (`cache`), or that of an earlier request with the same key
   (`zmartd.http.kit.idempotency`);
2. query or body are read as the type that is declared, then the variables of the path: what is malformed is
   told so, whoever sends it;
3. the caller is the one that `access` demands;
4. the handler is called, and what it gives becomes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from zmartd.http.errors.requests import NotYours
from zmartd.http.kit import idempotency, keys
from zmartd.http.kit.codec import (
    decode_body,
    decode_object,
    decode_query,
    encoded,
    json_response,
    read_body,
    require_json,
)
from zmartd.http.kit.expectations import accept_expectation
from zmartd.http.kit.identity import ANONYMOUS, IDENTITY, Identity
from zmartd.http.kit.operation import Access, Answer, AnswerCache, Call, Operation, Result


def add_operation(app: web.Application, operation: Operation[Any]) -> list[web.AbstractRoute]:
    """Add the routes of `operation`. What can be read answers HEAD, too."""
    handler, expects = endpoint(operation), accept_expectation
    if operation.method == "GET":
        return app.add_routes([web.get(operation.path, handler, expect_handler=expects)])
    return app.add_routes([web.route(operation.method, operation.path, handler, expect_handler=expects)])


def endpoint(operation: Operation[Any]) -> Handler:
    """What aiohttp calls for a request of `operation`."""
    dispatcher = _Dispatcher(operation)
    if operation.cache is not None:
        return _cached(dispatcher, operation.cache)
    if operation.takes_idempotency_key:
        return _answered_once(dispatcher)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await dispatcher.answer(request, request[IDENTITY])

    return answer


def _cached(dispatcher: _Dispatcher, cache: AnswerCache) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        remembered = await cache.answer(request, partial(dispatcher.read, request))
        if remembered is None:
            return await dispatcher.answer(request, request[IDENTITY])
        return remembered

    return answer


def _answered_once(dispatcher: _Dispatcher) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        identity, key = request[IDENTITY], request.headers.get(idempotency.HEADER)
        if key is None or identity.caller.wallet is None:
            return await dispatcher.answer(request, identity)
        dispatcher.admit(request, identity)
        body = await dispatcher.read_body(request)
        first = partial(dispatcher.answer, request, identity, body)
        return await idempotency.answered_once(request, identity, key, body, first)

    return answer


class _Dispatcher:
    """Calls the handler of one operation with what the operation declares."""

    def __init__(self, operation: Operation[Any]) -> None:
        self._operation = operation
        self._variables = operation.path_variables

    async def answer(
        self, request: web.Request, identity: Identity, body: bytes | None = None
    ) -> web.StreamResponse:
        """The answer to whom `identity` says; `body`, where it has been read already."""
        result = await self._result(request, identity, body)
        if isinstance(result, web.StreamResponse):
            return result
        if isinstance(result, Answer):
            return json_response(result.body, result.status, result.headers)
        return json_response(result, self._operation.status)

    async def read(self, request: web.Request) -> bytes:
        """The JSON that anybody is shown: nothing of the caller's own can be in it."""
        result = await self._result(request, ANONYMOUS, None)
        if isinstance(result, (web.StreamResponse, Answer)):
            raise TypeError(f"{self._operation.path}: only a body alone can be remembered")
        return encoded(result)

    def admit(self, request: web.Request, identity: Identity) -> None:
        """Raises what keeps the caller from the operation, whatever else its request says."""
        self._require(identity, self._path(request))

    async def read_body(self, request: web.Request) -> bytes:
        """The body. Raises BodyTooLarge, UnsupportedMediaType, InvalidHttp."""
        longest = self._operation.max_body_bytes or request.app[keys.SERVER].max_body_bytes
        return await read_body(request, longest)

    async def _result(self, request: web.Request, identity: Identity, body: bytes | None) -> Result:
        """What the handler gives. Raises what keeps the request from it."""
        given = await self._input(request, body)
        path = self._path(request)
        self._require(identity, path)
        return await self._operation.handler(Call(request, given, path, identity))

    async def _input(self, request: web.Request, body: bytes | None) -> Any:
        operation = self._operation
        if operation.query is not None:
            return decode_query(request, operation.query)
        if operation.body is not None:
            require_json(request)
            return decode_body(await self.read_body(request) if body is None else body, operation.body)
        if operation.proof is not None:
            return await operation.proof(request)
        if operation.has_empty_body and request.body_exists:
            body = await self.read_body(request) if body is None else body
            if body:  # clients may send `{}` where nothing is asked
                require_json(request)
                decode_object(body)
        return None

    def _path(self, request: web.Request) -> Mapping[str, str]:
        if not self._variables:
            return {}
        given = request.match_info
        return {name: variable.read(name, given[name]) for name, variable in self._variables.items()}

    def _require(self, identity: Identity, path: Mapping[str, str]) -> None:
        match self._operation.access:
            case Access.WALLET:
                identity.require_wallet()
            case Access.SESSION:
                identity.require_session()
            case Access.OWNER:
                if identity.require_wallet() != path["wallet"]:
                    raise NotYours
            case Access.PUBLIC | Access.HELIUS:
                pass
