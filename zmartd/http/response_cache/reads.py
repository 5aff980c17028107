"""How the answer of a handler is kept: under which key, and read on whose behalf."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache, partial, wraps
from urllib.parse import parse_qsl

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.http.auth.identity import ANONYMOUS, IDENTITY
from zmartd.http.kit import keys
from zmartd.http.kit.operation import Handler
from zmartd.http.markets.reading import market_ref
from zmartd.http.response_cache.cache import EVERY_MARKET, Answer, Key, answer
from zmartd.market.ids import is_market_id

_NO_CACHE = "no-cache"
_MAX_QUERY = 200
"""Longer queries are kept nowhere, neither as the key of an answer nor to know them again."""
_MAX_ADDRESSES = 65_536


class _Named(Struct):
    """The id of the market that an answer is about."""

    id: str


_decoder = msgspec.json.Decoder(_Named)


def page(handler: Handler, parameters: Collection[str]) -> Handler:
    """Keeps what `handler` says about the markets together, for queries of `parameters` alone.

    What names anything else, a place deep in the list or words to search for, is asked for once or twice and
    goes to the handler.
    """
    names = frozenset(parameters)

    @wraps(handler)
    async def kept(request: web.Request) -> web.StreamResponse:
        query = request.rel_url.raw_query_string
        if len(query) > _MAX_QUERY or not is_plain(query, names):
            return await handler(request)
        key = Key(EVERY_MARKET, f"{request.rel_url.raw_path}?{query}")
        response = _kept(request, key)
        return await _asked_for(request, key, handler) if response is None else response

    return kept


def market(handler: Handler) -> Handler:
    """Keeps what `handler` says about the one market in the path, named by its id or its address.

    An address is kept as the id that its first answer showed.
    """
    ids = _Aliases(_MAX_ADDRESSES)

    @wraps(handler)
    async def kept(request: web.Request) -> web.StreamResponse:
        market_id: str | None = request.match_info["id"]
        if not is_market_id(request.match_info["id"]):
            reference = market_ref(request)
            market_id = reference if is_market_id(reference) else ids.get(reference)
        if market_id is None:
            body = await _read(request, handler)
            ids.learn(reference, _decoder.decode(body).id)
            return _respond(request, answer(body))
        key = Key(market_id, "market")
        response = _kept(request, key)
        return await _asked_for(request, key, handler) if response is None else response

    return kept


class _Aliases:
    """What addresses stand for, at most `most` of them: it never changes, so nothing but room limits it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: dict[str, str] = {}

    def get(self, address: str) -> str | None:
        return self._ids.get(address)

    def learn(self, address: str, market_id: str) -> None:
        if len(self._ids) >= self._most:
            del self._ids[next(iter(self._ids))]
        self._ids[address] = market_id


def _kept(request: web.Request, key: Key) -> web.Response | None:
    """The answer that is in memory, for who does not ask for a new one."""
    if _NO_CACHE in request.headers.get(hdrs.CACHE_CONTROL, ""):
        return None
    found = request.app[keys.HOT_ANSWERS].kept(key)
    return None if found is None else _respond(request, found)


async def _asked_for(request: web.Request, key: Key, handler: Handler) -> web.Response:
    """The answer that a reading brings: one that has begun will do for who does not ask for a new one."""
    answers = request.app[keys.HOT_ANSWERS]
    ask = answers.anew if _NO_CACHE in request.headers.get(hdrs.CACHE_CONTROL, "") else answers.get
    return _respond(request, await ask(key, partial(_read, request, handler)))


def _respond(request: web.Request, answer: Answer) -> web.Response:
    known = request.headers.get(hdrs.IF_NONE_MATCH)
    if known is not None and _names(known, answer.etag):
        return web.Response(status=304, headers=answer.headers)
    return web.Response(body=answer.body, headers=answer.headers)


async def _read(request: web.Request, handler: Handler) -> bytes:
    # What everybody gets is read as anybody would, so that nothing of a caller's own can be in it.
    anonymous = request.clone()
    anonymous[IDENTITY] = ANONYMOUS
    response = await handler(anonymous)
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        raise TypeError("only an answer whose body is bytes can be kept")
    return response.body


def _names(known: str, etag: str) -> bool:
    """Whether `If-None-Match` names the entity tag, by the weak comparison of RFC 9110, section 13.1.2."""
    return known.strip() == "*" or any(tag.strip().removeprefix("W/") == etag for tag in known.split(","))


@lru_cache(maxsize=4_096)
def is_plain(query: str, names: frozenset[str]) -> bool:
    """Whether a query names nothing but `names`. It is remembered, so it has to be short."""
    said = parse_qsl(query, keep_blank_values=True)
    return all(name in names or (name, value) == ("offset", "0") for name, value in said)
