"""The position of a market's stream at which an answer shows the market.

An answer that is made of one read has it from there. One that is made of several shows the market at one
position if the stream has come no further while they went on; otherwise the answer is made anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from zmartd.http.kit.operation import STREAM_POSITION, AtPosition, Call, JsonResponse, Operation, Result
from zmartd.store import markets
from zmartd.store.streams import StreamPosition

ATTEMPTS: Final = 5
"""A market that changes during all of them is shown at the position before the last: a client that resumes
from it lacks nothing, and may be told of what the answer has already.
"""


async def at_its_position(operation: Operation[Any], call: Call[Any]) -> Result:
    """The result of a handler that shows one market, with the position at which it does.

    A market that is not on the chain has none.
    """
    if not operation.shows_market:
        return await operation.handler(call)
    if operation.reads_once:
        shown = await operation.handler(call)
        assert isinstance(shown, AtPosition), f"{operation.path} does not say what it was read at"
        return _with_position(operation, shown.body, shown.position)
    read = _reading(operation, call)
    position = await read()
    for _ in range(ATTEMPTS):
        before = position
        result = await operation.handler(call)
        position = await read()
        if position == before:
            break
    return _with_position(operation, result, before)


def _with_position(operation: Operation[Any], result: Result, position: StreamPosition | None) -> Result:
    if position is None or isinstance(result, web.StreamResponse):
        return result
    headers = {STREAM_POSITION: str(position)}
    if isinstance(result, JsonResponse):
        return msgspec.structs.replace(result, headers={**result.headers, **headers})
    return JsonResponse(result, operation.default_status, headers)


def _reading(operation: Operation[Any], call: Call[Any]) -> Callable[[], Awaitable[StreamPosition | None]]:
    """What reads the position of the market that a call is about."""
    slug = call.path.get("slug")
    reference = call.path.get("id") or getattr(call.input, "market_id", None)
    if slug is None and reference is None:
        raise TypeError(f"{operation.path}: it shows no one market")

    async def read() -> StreamPosition | None:
        async with call.database.reader(call.caller) as connection:
            if slug is not None:
                return await markets.position_by_slug(connection, slug)
            assert reference is not None
            return await markets.position(connection, reference)

    return read
