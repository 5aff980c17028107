"""The dispatcher: enforces for each request what its operation declares, then calls the handler.

A cached response (`cache`) is looked up by `peek_of` before the request is counted, because it counts less.
The steps without one, each of which may refuse the request with an error:

1. A query is refused where the operation takes none.
2. Where the response may be cached, one that is being made is shared, and a new one is cached. Where it is
   shared (`is_shared`), a caller's requests for the same wait for one reading together.
3. The query or the body, then the variables of the path, are decoded. Malformed input is reported to every
   caller, whether or not it has access.
4. The caller's access is checked.
5. The handler is called, and its result becomes the response; or the `export` is read, where the request
   prefers one. Where that may be read from a replica, `zmartd.http.kit.replica_reads` decides where it is.

After a write the position of its wallet is kept (`zmartd.http.kit.own_positions`).

For a wallet's request with an Idempotency-Key, the variables of the path are decoded and access is checked
before the body is read. Then the stored response of an earlier request with the same key is returned
(`zmartd.http.kit.idempotency`), or steps 3 to 5 make it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from asyncpg import Connection
from msgspec import Raw, Struct

from zmartd.http.errors.requests import NotYours
from zmartd.http.kit import idempotency, keys
from zmartd.http.kit.codec import (
    decode_body,
    decode_query,
    encode_body,
    json_response,
    read_body,
    require_json,
)
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.expectations import send_continue
from zmartd.http.kit.exports import VARY, export_response, export_type
from zmartd.http.kit.identity import ANONYMOUS, IDENTITY, Identity
from zmartd.http.kit.names import NoFields
from zmartd.http.kit.operation import (
    Access,
    CachePolicy,
    Call,
    JsonResponse,
    KeepAnswer,
    LoadedBody,
    Operation,
    Quota,
    Result,
)
from zmartd.http.kit.own_positions import keeping_position
from zmartd.http.kit.replica_reads import read_somewhere
from zmartd.http.kit.shared_reads import SharedReads
from zmartd.http.kit.stream_positions import at_its_position
from zmartd.http.kit.weights import EXPORT, REQUEST
from zmartd.store.postgres.rls import Caller

Peek = Callable[[web.Request], TaggedResponse | None]
"""Returns the response to a request if it is in memory. Never raises, and waits for nothing."""
Weigh = Callable[[web.Request], int]
"""Returns the weight of a request that is not answered from memory. Never raises."""
Wrap = Callable[[Handler, Quota, Peek | None, Weigh | None], Handler]


def add_operation(app: web.Application, operation: Operation[Any], wrap: Wrap) -> list[web.AbstractRoute]:
    """Add the routes of `operation`: one for its method, and HEAD along with GET.

    `wrap` puts around its handler what happens to every request.
    """
    handler = wrap(request_handler(operation), operation.quota, peek_of(operation), weigh_of(operation))
    if operation.method == "GET":
        return app.add_routes([web.get(operation.path, handler, expect_handler=send_continue)])
    return app.add_routes(
        [web.route(operation.method, operation.path, handler, expect_handler=send_continue)]
    )


def request_handler(operation: Operation[Any]) -> Handler:
    """The handler that aiohttp calls for a request of `operation`."""
    handler = _handler_of(operation)
    return keeping_position(handler) if operation.writes else handler


def _handler_of(operation: Operation[Any]) -> Handler:
    dispatcher = _Dispatcher(operation)
    if operation.cache is not None:
        return _cached(dispatcher, operation.cache)
    if operation.takes_idempotency_key:
        return _idempotent(dispatcher, operation)
    if operation.is_shared:
        return _shared(dispatcher, operation)

    async def handle(request: web.Request) -> web.StreamResponse:
        dispatcher.check_query(request)
        return await dispatcher.respond(request, request[IDENTITY])

    return handle


def peek_of(operation: Operation[Any]) -> Peek | None:
    """What looks up cached responses of `operation`; None if it has none."""
    cache, load = operation.cache, _Dispatcher(operation).load_public
    if cache is None:
        return None
    takes_query = operation.query is not None

    def peek(request: web.Request) -> TaggedResponse | None:
        if not takes_query and request.rel_url.raw_query_string:
            return None
        return cache.peek(request, load)

    return peek


def weigh_of(operation: Operation[Any]) -> Weigh | None:
    """What weighs the requests of `operation`; None where all of them weigh REQUEST."""
    if operation.export is None:
        return None
    return lambda request: REQUEST if export_type(request) is None else EXPORT


def _cached(dispatcher: _Dispatcher, cache: CachePolicy) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        dispatcher.check_query(request)
        response = await cache.respond(request, partial(dispatcher.load_public, request))
        if response is None:
            return await dispatcher.respond(request, request[IDENTITY])
        return response

    return handle


def _shared(dispatcher: _Dispatcher, operation: Operation[Any]) -> Handler:
    reads: SharedReads[tuple[Caller, str], JsonResponse] = SharedReads()

    async def handle(request: web.Request) -> web.StreamResponse:
        dispatcher.check_query(request)
        identity = request[IDENTITY]
        if operation.export is not None and export_type(request) is not None:
            return await dispatcher.respond(request, identity)
        key = identity.caller, request.rel_url.raw_path_qs
        return dispatcher.response(await reads.get(key, partial(dispatcher.load, request, identity)))

    return handle


def _idempotent(dispatcher: _Dispatcher, operation: Operation[Any]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        dispatcher.check_query(request)
        identity, key = request[IDENTITY], request.headers.get(idempotency.HEADER)
        if key is None or identity.caller.wallet is None:
            return await dispatcher.respond(request, identity)
        dispatcher.check_access(request, identity)
        body = await dispatcher.read_body(request)

        async def respond(held: idempotency.HeldKey) -> web.StreamResponse:
            return await dispatcher.respond(request, identity, body, held)

        write = idempotency.Write(operation, request, identity, body)
        return await idempotency.respond_once(write, key, respond)

    return handle


class _Dispatcher:
    """Calls the handler of one operation."""

    def __init__(self, operation: Operation[Any]) -> None:
        self._operation = operation
        self._variables = operation.path_variables

    async def respond(
        self,
        request: web.Request,
        identity: Identity,
        body: bytes | None = None,
        key: idempotency.HeldKey | None = None,
    ) -> web.StreamResponse:
        """The response to `identity`. `body`: the body of the request if it has been read already."""
        keep = None if key is None else partial(self._keep, key)
        result = await self._call_handler(request, identity, body, keep)
        return result if isinstance(result, web.StreamResponse) else self.response(result)

    async def _keep(
        self, key: idempotency.HeldKey, connection: Connection, answer: Struct | JsonResponse
    ) -> None:
        await key.keep(connection, self.response(answer))

    def response(self, result: Struct | Sequence[Struct] | JsonResponse) -> web.Response:
        if isinstance(result, JsonResponse):
            response = json_response(result.body, result.status, result.headers)
        else:
            response = json_response(result, self._operation.default_status)
        if self._operation.export is not None:
            response.headers[hdrs.VARY] = VARY
        return response

    async def load(self, request: web.Request, identity: Identity) -> JsonResponse:
        """What `identity` gets, its body as JSON. Raises TypeError if the handler returns no JSON."""
        result = await self._call_handler(request, identity)
        if isinstance(result, web.StreamResponse):
            raise TypeError(f"{self._operation.path}: only JSON can be shared, not any response")
        if isinstance(result, JsonResponse):
            return msgspec.structs.replace(result, body=Raw(encode_body(result.body)))
        return JsonResponse(Raw(encode_body(result)), self._operation.default_status)

    async def load_public(self, request: web.Request) -> LoadedBody:
        """The JSON that an anonymous caller gets. Raises TypeError if the handler returns no JSON."""
        result = await self._call_handler(request, ANONYMOUS)
        if isinstance(result, web.StreamResponse):
            raise TypeError(f"{self._operation.path}: only JSON can be cached, not any response")
        if isinstance(result, JsonResponse):
            return LoadedBody(encode_body(result.body), result.headers)
        return LoadedBody(encode_body(result))

    def check_query(self, request: web.Request) -> None:
        """Raises InvalidRequest for a query where the operation takes none."""
        if self._operation.query is None and request.rel_url.raw_query_string:
            decode_query(request, NoFields)

    def check_access(self, request: web.Request, identity: Identity) -> None:
        """Raises the error of a caller that may not call the operation."""
        self._check_access(identity, self._read_path(request))

    async def read_body(self, request: web.Request) -> bytes:
        """Raises BodyTooLarge, UnsupportedMediaType, InvalidHttp."""
        limit_bytes = self._operation.max_body_bytes or request.app[keys.SERVER].max_body_bytes
        return await read_body(request, limit_bytes)

    async def _call_handler(
        self,
        request: web.Request,
        identity: Identity,
        body: bytes | None = None,
        keep: KeepAnswer | None = None,
    ) -> Result:
        value = await self._read_input(request, body)
        path = self._read_path(request)
        self._check_access(identity, path)
        call = Call(request, value, path, identity, keep)
        if self._operation.from_replica:
            return await read_somewhere(call, partial(self._answer, call))
        return await self._answer(call)

    async def _answer(self, call: Call[Any]) -> Result:
        request, export = call.request, self._operation.export
        if export is not None and (media_type := export_type(request)) is not None:
            return export_response(request, media_type, export.row, await export.read(call))
        return await at_its_position(self._operation, call)

    async def _read_input(self, request: web.Request, body: bytes | None) -> Any:
        operation = self._operation
        if operation.query is not None:
            return decode_query(request, operation.query)
        if operation.body is not None:
            require_json(request)
            body = await self.read_body(request) if body is None else body
            return decode_body(body, operation.body, operation.unread_fields)
        if operation.verify is not None:
            return await operation.verify(request)
        if operation.expects_no_body and request.body_exists:
            body = await self.read_body(request) if body is None else body
            if body:  # clients may send `{}` all the same
                require_json(request)
                decode_body(body, NoFields, operation.unread_fields)
        return None

    def _read_path(self, request: web.Request) -> Mapping[str, str]:
        if not self._variables:
            return {}
        texts = request.match_info
        return {name: variable.read(name, texts[name]) for name, variable in self._variables.items()}

    def _check_access(self, identity: Identity, path: Mapping[str, str]) -> None:
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
