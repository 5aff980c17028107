"""Decodes request bodies and query strings into their types, and encodes response types as JSON."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Mapping
from json import JSONDecoder
from typing import Any, TypeVar

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.http.errors.requests import BodyTooLarge, InvalidHttp, InvalidJson, UnsupportedMediaType
from zmartd.http.kit import keys, validation
from zmartd.http.kit.names import Place, read_names

RequestType = TypeVar("RequestType", bound=Struct)

_IDENTITY = "identity"
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib's parameter for each format."""
_WRONG_ENCODING = "The body is not in the encoding that its Content-Encoding names."

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()
_NAMES = JSONDecoder(
    object_pairs_hook=lambda members: [name for name, _ in members], parse_int=str, parse_float=str
)
"""Decodes each object as the list of its names, in which repeated ones are repeated: a dict has each once."""


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response with `body` (a struct, or a sequence of structs) as JSON."""
    return web.Response(
        body=encode_body(body), status=status, headers=headers, content_type="application/json"
    )


def encode_body(body: Any) -> bytes:
    """`body` (a struct, or a sequence of structs) as JSON."""
    return _ENCODER.encode(body)


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The decompressed body, with never more than `limit_bytes` of it in memory.

    Raises BodyTooLarge, UnsupportedMediaType, InvalidHttp.
    """
    return decompress(request, await read_raw(request, limit_bytes), limit_bytes)


async def read_raw(
    request: web.Request, limit_bytes: int, reserve: Callable[[int], None] | None = None
) -> bytes:
    """The body as it was sent, with never more than `limit_bytes` of it in memory.

    Before each part is kept, `reserve` gets its length in bytes, and may raise to stop reading.
    Raises BodyTooLarge, InvalidHttp.
    """
    if (request.content_length or 0) > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes)
    content, body = request.content, bytearray()
    try:
        while True:
            part = await content.readany()
            if len(body) + len(part) > limit_bytes:
                raise BodyTooLarge(limit_bytes=limit_bytes)
            if reserve is not None:
                reserve(len(part))
            if not body and content.at_eof():
                return part  # a short body arrives as one part
            body += part
            if content.at_eof():
                return bytes(body)
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidHttp("The body ended early, or is not framed as its headers say.") from error
    finally:
        del body  # otherwise the traceback of an error keeps it in memory until the response is sent


def decompress(request: web.Request, raw: bytes, limit_bytes: int) -> bytes:
    """`raw`, the body of `request`, without the compression that its Content-Encoding names.

    Raises BodyTooLarge for more than `limit_bytes`, UnsupportedMediaType, InvalidHttp.
    """
    if hdrs.CONTENT_ENCODING not in request.headers or not request.app.get(
        keys.BODIES_STAY_COMPRESSED, False
    ):
        return raw
    encoding = request.headers[hdrs.CONTENT_ENCODING].strip().lower()
    if encoding == _IDENTITY:
        return raw
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType("Send the body without Content-Encoding, or with gzip or deflate.")
    decompressor = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        body = decompressor.decompress(raw, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidHttp(_WRONG_ENCODING) from error
    if len(body) > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidHttp(_WRONG_ENCODING)
    return body


def decode_body(body: bytes, kind: type[RequestType], unread: Container[str] = ()) -> RequestType:
    """A JSON body as a `kind`. Fields that are named in `unread` may be in it, too, and are not read.

    Raises InvalidJson, or InvalidRequest with every failing field, also for unknown and repeated ones.
    """
    values, given, problems = read_names(kind, decode_members(body), Place.BODY, unread)
    return validation.from_json(kind, values, given, problems)


def require_json(request: web.Request) -> None:
    """Raises UnsupportedMediaType unless the body is JSON."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType


def decode_members(raw: bytes | str) -> list[tuple[str, Any]]:
    """The name and value of each member of a JSON object; of those with one name each has the last value.

    Raises InvalidJson.
    """
    if not raw:
        raise InvalidJson("The body is empty; send one JSON object.")
    try:
        values = _DECODER.decode(raw)
        names = _NAMES.decode(raw if isinstance(raw, str) else raw.decode())
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidJson from error
    if not isinstance(values, dict):
        raise InvalidJson("The body has to be a JSON object.")
    return [(name, values[name]) for name in names]


def decode_query(request: web.Request, kind: type[RequestType]) -> RequestType:
    """The query string as a `kind`. Raises InvalidRequest, also for unknown and repeated parameters."""
    values, given, problems = read_names(kind, request.query.items(), Place.QUERY)
    return validation.from_text(kind, values, given, problems)
