"""Bytes in and out: request bodies and queries into their types, response types into JSON."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.http.errors.requests import BodyTooLarge, InvalidHttp, InvalidJson, UnsupportedMediaType
from zmartd.http.kit import keys, validation

RequestType = TypeVar("RequestType", bound=Struct)

_AS_IT_IS = "identity"
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How zlib is told which format to expect."""
_MISNAMED = "The body is not in the encoding that its headers name."

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`body` (structs, or lists of them) as a JSON answer."""
    return web.Response(body=encoded(body), status=status, headers=headers, content_type="application/json")


def encoded(body: Any) -> bytes:
    """`body` (structs, or lists of them) as JSON."""
    return _ENCODER.encode(body)


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The body without its compression, never holding more than `limit_bytes` of it.

    Raises BodyTooLarge, UnsupportedMediaType, InvalidHttp.
    """
    return decompressed(request, await read_raw(request, limit_bytes), limit_bytes)


async def read_raw(
    request: web.Request, limit_bytes: int, take: Callable[[int], None] | None = None
) -> bytes:
    """The body as it was sent, never holding more than `limit_bytes` of it.

    `take` is told of the bytes that are going to be held besides those before, and may raise to hold no more.
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
            if take is not None:
                take(len(part))
            if not body and content.at_eof():
                return part  # a short body is there at once
            body += part
            if content.at_eof():
                return bytes(body)
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidHttp("The body broke off, or is not framed as its headers say.") from error
    finally:
        del body  # what an error's traceback refers to would stay in memory until the error has been answered


def decompressed(request: web.Request, raw: bytes, limit_bytes: int) -> bytes:
    """What `raw`, the body of `request`, says without the compression that its headers name.

    Raises BodyTooLarge where that is more than `limit_bytes`, UnsupportedMediaType, InvalidHttp.
    """
    if hdrs.CONTENT_ENCODING not in request.headers or not request.app.get(keys.BODIES_AS_SENT, False):
        return raw
    encoding = request.headers[hdrs.CONTENT_ENCODING].strip().lower()
    if encoding == _AS_IT_IS:
        return raw
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType("The body has to come without Content-Encoding, or with gzip or deflate.")
    decompressor = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        body = decompressor.decompress(raw, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidHttp(_MISNAMED) from error
    if len(body) > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidHttp(_MISNAMED)
    return body


def decode_body(body: bytes, kind: type[RequestType]) -> RequestType:
    """A JSON body as a `kind`. Raises InvalidJson, or InvalidRequest with every failing field."""
    return validation.from_json(kind, decode_object(body))


def require_json(request: web.Request) -> None:
    """Raises UnsupportedMediaType."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType


def decode_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises InvalidJson."""
    try:
        values = _DECODER.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidJson from error
    if not isinstance(values, dict):
        raise InvalidJson("The body has to be one JSON object.")
    return values


def decode_query(request: web.Request, kind: type[RequestType]) -> RequestType:
    """The query string as a `kind`; of a name given twice the first counts. Raises InvalidRequest."""
    return validation.from_text(kind, {name: request.query[name] for name in request.query})
