"""Writes that say everything with their path: what they carry besides is looked at all the same."""

from __future__ import annotations

from functools import wraps

from aiohttp import web

from zmartd.http.errors.requests import UnsupportedMediaType
from zmartd.http.kit import keys
from zmartd.http.kit.codec import decode_object, read_body
from zmartd.http.kit.operation import Handler, Operation, says_all_with_its_path, wrapped


def bodies_refused(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """`operations`, those that write and take no body with handlers that refuse one that is no JSON."""
    return wrapped(operations, says_all_with_its_path, _checked)


def _checked(operation: Operation) -> Handler:
    handler = operation.handler

    @wraps(handler)
    async def checked(request: web.Request) -> web.StreamResponse:
        if request.body_exists:
            await _check(request)
        return await handler(request)

    return checked


async def _check(request: web.Request) -> None:
    """Clients may send `{}` where nothing is asked.

    Raises BodyTooLarge, UnsupportedMediaType, InvalidJson.
    """
    raw = await read_body(request, request.app[keys.SERVER].max_body_bytes)
    if not raw:
        return
    if request.content_type != "application/json":
        raise UnsupportedMediaType
    decode_object(raw)
