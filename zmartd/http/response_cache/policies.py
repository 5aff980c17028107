"""How the answers of an operation are remembered: under which key, and for which requests."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import parse_qsl

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.http.kit.etags import TaggedAnswer
from zmartd.http.kit.operation import AnswerCache, Read
from zmartd.http.kit.path_variables import MARKET
from zmartd.http.response_cache.cache import EVERY_MARKET, RESPONSE_CACHE, Key
from zmartd.market.ids import is_market_id

_NO_CACHE = "no-cache"
_MAX_QUERY = 200
"""Longer queries are remembered nowhere, neither as the key of an answer nor to recognize them."""
_MAX_ADDRESSES = 65_536


class _Named(Struct):
    """The id of the market that an answer is about."""

    id: str


_decoder = msgspec.json.Decoder(_Named)


class ManyMarkets(AnswerCache):
    """Remembers what is said about the markets together, for queries of `parameters` alone.

    What names anything else, a place deep in the list or words to search for, is asked for once or twice and
    is not remembered.
    """

    def __init__(self, *parameters: str) -> None:
        self._parameters = frozenset(parameters)

    async def answer(self, request: web.Request, read: Read) -> web.Response | None:
        query = request.rel_url.raw_query_string
        if len(query) > _MAX_QUERY or not is_plain(query, self._parameters):
            return None
        return await _remembered(request, Key(EVERY_MARKET, f"{request.rel_url.raw_path}?{query}"), read)


class OneMarket(AnswerCache):
    """Remembers what is said about the one market in the path, named by its id or its address.

    An address is remembered as the id that its first answer showed.
    """

    def __init__(self) -> None:
        self._ids = _Aliases(_MAX_ADDRESSES)

    async def answer(self, request: web.Request, read: Read) -> web.Response | None:
        market_id: str | None = request.match_info["id"]
        if not is_market_id(request.match_info["id"]):
            reference = MARKET.read("id", request.match_info["id"])
            market_id = reference if is_market_id(reference) else self._ids.get(reference)
        if market_id is None:
            body = await read()
            self._ids.learn(reference, _decoder.decode(body).id)
            return TaggedAnswer.of(body).to(request)
        return await _remembered(request, Key(market_id, "market"), read)


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


async def _remembered(request: web.Request, key: Key, read: Read) -> web.Response:
    """The answer from memory, or the one that a reading brings.

    Who asks for a new one is given that of a reading which begins now, who does not also one that has begun.
    """
    cache = request.app[RESPONSE_CACHE]
    if _NO_CACHE in request.headers.get(hdrs.CACHE_CONTROL, ""):
        return (await cache.anew(key, read)).to(request)
    return (cache.kept(key) or await cache.get(key, read)).to(request)


@lru_cache(maxsize=4_096)
def is_plain(query: str, names: frozenset[str]) -> bool:
    """Whether a query names nothing but `names`. It is remembered, so it has to be short."""
    said = parse_qsl(query, keep_blank_values=True)
    return all(name in names or (name, value) == ("offset", "0") for name, value in said)
