"""Cache policies of operations: which responses are cached, and under which key."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import parse_qsl

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.operation import CachePolicy, LoadAnswer, LoadBody
from zmartd.http.kit.path_variables import MARKET, PathVariable
from zmartd.http.response_cache.cache import EVERY_MARKET, NO_MARKET, RESPONSE_CACHE, CacheKey
from zmartd.market.ids import is_market_id

_NO_CACHE = "no-cache"
_MAX_QUERY_LENGTH = 200
"""Responses to longer queries are not cached. It bounds the keys, and the memory of `has_only`."""
_MAX_NAMES = 65_536


class _MarketId(Struct):
    """What is read of a market's JSON."""

    id: str


_decoder = msgspec.json.Decoder(_MarketId)


class CacheForAllMarkets(CachePolicy):
    """Caches responses about many markets, by query, for queries with no parameters but these.

    Queries with others, such as a cursor or a search text, are too various to be worth it.
    """

    def __init__(self, *parameters: str) -> None:
        self._parameters = frozenset(parameters)

    def peek(self, request: web.Request, load: LoadAnswer) -> TaggedResponse | None:
        return _peek(request, self._key(request), load)

    async def respond(self, request: web.Request, load: LoadBody) -> web.Response | None:
        key = self._key(request)
        return None if key is None else await _respond(request, key, load)

    def _key(self, request: web.Request) -> CacheKey | None:
        query = request.rel_url.raw_query_string
        if len(query) > _MAX_QUERY_LENGTH or not has_only(self._parameters, query):
            return None
        return CacheKey(EVERY_MARKET, f"{request.rel_url.raw_path}?{query}")


class CacheFromNode(CachePolicy):
    """Caches the one response of an operation that asks the node, until it is too old.

    Whatever anonymous callers send, the node is asked once in MAX_AGE_SECONDS, also while it does not answer.
    """

    def peek(self, request: web.Request, load: LoadAnswer) -> TaggedResponse | None:
        return request.app[RESPONSE_CACHE].peek(CacheKey(NO_MARKET, request.rel_url.raw_path))

    async def respond(self, request: web.Request, load: LoadBody) -> web.Response | None:
        key = CacheKey(NO_MARKET, request.rel_url.raw_path)
        return (await request.app[RESPONSE_CACHE].get_paced(key, load)).respond_to(request)


class CacheByMarket(CachePolicy):
    """Caches responses about the market that a variable of the path names, by its id.

    The id of another name, an address or a slug, is taken from the first response to it. Such a name is
    never another market's.
    """

    def __init__(
        self,
        name: str = "id",
        variable: PathVariable = MARKET,
        is_id: Callable[[str], bool] = is_market_id,
    ) -> None:
        self._name = name
        self._variable = variable
        self._is_id = is_id
        self._ids = _IdsByName(_MAX_NAMES)

    def peek(self, request: web.Request, load: LoadAnswer) -> TaggedResponse | None:
        market_id = self._id_of(request.match_info[self._name])
        return None if market_id is None else _peek(request, CacheKey(market_id, "market"), load)

    async def respond(self, request: web.Request, load: LoadBody) -> web.Response | None:
        reference = self._variable.read(self._name, request.match_info[self._name])
        market_id = self._id_of(reference)
        if market_id is None:
            body = await load()
            self._ids.add(reference, _decoder.decode(body.content).id)
            return TaggedResponse.of(body.content, more_headers=body.headers).respond_to(request)
        return await _respond(request, CacheKey(market_id, "market"), load)

    def _id_of(self, reference: str) -> str | None:
        return reference if self._is_id(reference) else self._ids.get(reference)


class _IdsByName:
    """The ids of at most `max_names` markets. They never change, so entries do not expire."""

    def __init__(self, max_names: int) -> None:
        self._max_names = max_names
        self._ids: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self._ids.get(name)

    def add(self, name: str, market_id: str) -> None:
        if len(self._ids) >= self._max_names:
            del self._ids[next(iter(self._ids))]
        self._ids[name] = market_id


def _peek(request: web.Request, key: CacheKey | None, load: LoadAnswer) -> TaggedResponse | None:
    if key is None or _NO_CACHE in request.headers.get(hdrs.CACHE_CONTROL, ""):
        return None
    return request.app[RESPONSE_CACHE].peek(key, partial(load, request))


async def _respond(request: web.Request, key: CacheKey, load: LoadBody) -> web.Response:
    """The response of a load, for `Cache-Control: no-cache` one that begins now."""
    cache = request.app[RESPONSE_CACHE]
    is_new = _NO_CACHE in request.headers.get(hdrs.CACHE_CONTROL, "")
    return (await (cache.refresh if is_new else cache.get)(key, load)).respond_to(request)


@lru_cache(maxsize=4_096)
def has_only(parameters: frozenset[str], query: str) -> bool:
    """Whether a query has no parameters but these; `offset=0` counts as none. Results are cached."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return all(name in parameters or (name, value) == ("offset", "0") for name, value in pairs)
