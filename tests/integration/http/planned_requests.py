"""What is asked of each operation that reads, and what it may read for that beyond the rule."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

BASE: Final = 60
"""Rows that a statement may read whatever it returns: what it looks up once."""
MULTIPLE: Final = 8
"""And for each row that it returns: the row, and what is looked up for it in other tables."""
BOUNDED: Final = frozenset({
    *("alert_order", "audit_passes", "daemons", "indexer_cursor", "leaderboard_editions", "market_counts"),
    *("protocol", "pulses", "standing_periods", "stream_epochs", "task_schedules"),
})  # fmt: skip
"""Tables that do not grow with what is traded, voted, written or sent. All others are growing tables."""
FEW: Final = 20
"""So many rows of a growing table may be scanned: it may be as small as that here."""


class Allowance(Struct, frozen=True):
    """What a request may read for a reason."""

    why: str
    rows: int
    """The most that one statement reads in the database of this test."""
    scans: frozenset[str] = frozenset()
    """Growing tables that it reads in their order."""


REQUESTS: Final[dict[str, tuple[str, ...]]] = {
    "/api/admin/alerts": ("",),
    "/api/admin/pending": ("",),
    "/api/audit": ("",),
    "/api/discussions/{id}": ("", "?limit=100"),
    "/api/documents/{cid}": ("",),
    "/api/leaderboard": ("", "?by=volume&period=24h&limit=100", "?by=trades&period=30d&limit=100"),
    "/api/markets": (
        "",
        "?sort=volume",
        "?sort=volume&order=asc&limit=100",
        "?sort=trending",
        "?sort=trending&order=asc",
        "?sort=ending_soon",
        "?state=ACTIVE",
        "?state=FINALIZED&sort=volume",
        "?state=FINALIZED,CANCELLED&sort=volume",
        "?state=PROPOSED,DISPUTED",
        "?state=ACTIVE&category=sports",
        "?category=crypto",
        "?category=crypto&sort=volume",
        "?creator=CREATOR",
        "?tag=election",
        "?q=election",
        "?q=electoin",
    ),
    "/api/markets/activity": ("", "?type=trade&limit=100", "?type=creation", "?type=resolution"),
    "/api/markets/by-slug/{slug}": ("",),
    "/api/markets/categories": ("",),
    "/api/markets/trending": ("", "?limit=20"),
    "/api/markets/{id}": ("", "#final", "#refunded"),
    "/api/markets/{id}/candles": (
        "?interval=1h",
        "?interval=1d&from=YEAR_AGO&to=NEWEST",
        "?interval=5m&from=DAY_AGO&to=NEWEST",
    ),
    "/api/markets/{id}/discussions": ("",),
    "/api/markets/{id}/events": ("",),
    "/api/markets/{id}/fees": ("",),
    "/api/markets/{id}/holders": ("", "?outcome=false&limit=100", "#final"),
    "/api/markets/{id}/positions/{wallet}": ("", "#final", "#refunded"),
    "/api/markets/{id}/price-history": ("",),
    "/api/markets/{id}/prices": ("",),
    "/api/markets/{id}/related": ("",),
    "/api/markets/{id}/resolution": ("#final",),
    "/api/markets/{id}/settlement": ("", "#final"),
    "/api/markets/{id}/stats": ("",),
    "/api/markets/{id}/trades": ("", "?limit=200"),
    "/api/markets/{id}/votes": ("", "?type=dispute"),
    "/api/positions/{wallet}": ("?limit=10", ""),
    "/api/stats": ("",),
    "/api/trades": ("", "?limit=200"),
    "/api/trades/estimate": ("?market_id=MARKET&outcome=true&target_cost=1000000000",),
    "/api/trades/history": ("", "?market_id=MARKET"),
    "/api/transactions/{signature}": ("",),
    "/api/users/me": ("",),
    "/api/users/{wallet}": ("",),
    "/api/users/{wallet}/portfolio": ("", "?limit=10"),
    "/api/users/{wallet}/positions": ("?limit=10", ""),
    "/api/users/{wallet}/positions/{id}": ("",),
    "/api/users/{wallet}/stats": ("",),
    "/api/users/{wallet}/trades": ("", "?limit=200"),
    "/api/users/{wallet}/votes": ("", "?limit=100"),
    "/api/votes/{id}": ("",),
    "/health": ("",),
}
"""By path of the operation what follows it in requests. `#final` and `#refunded`: about such a market."""
WITHOUT_STATEMENTS: Final = {
    "/api/asyncapi.json": "made when the daemon starts",
    "/api/openapi.json": "made when the daemon starts",
    "/api/auth/nonce": "kept in Redis",
    "/api/discussions/ipfs/{cid}": "on IPFS",
    "/api/stream": "does not end",
    "/api/protocol": "one row, and the chain's account",
    "/ready": "asks no table",
    **dict.fromkeys(("/ws", "/ws/", "/"), "a WebSocket"),
    **dict.fromkeys(
        ("/page/style.css", "/page/script.js", "/page/guide.css", "/llms.txt", "/docs", "/docs/start.js",
         "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/websocket", "/docs/guide",
         "/docs/guide/{chapter}"),
        "a file",
    ),
}  # fmt: skip
_ALERTS: Final = Allowance("alerts are counted; they are kept for some days", 2_000, frozenset({"alerts"}))
_COMMENTS: Final = Allowance("the comments of the market are counted", 1_500)
_DAY: Final = Allowance(
    "what was traded in the last day is summed: an hour of a market, and a wallet's lot", 3_000
)
_MATCHES: Final = Allowance("what matches is counted", 500)
_OPEN_VOTES: Final = Allowance("votes that are open are counted, each market's once", 800)
_TRADED_TOGETHER: Final = Allowance("all trades of the wallet or of the market are looked through", 3_000)
_ITS_MARKETS: Final = Allowance("the wallet's sums are over the markets that it has traded in", 1_200)
_ITS_POSITIONS: Final = Allowance(
    "all of the wallet's positions are compared with those known, in one row", 1_200
)
_ITS_VOTES: Final = Allowance("and over its votes, each with the state of its market", 6_000)
ALLOWANCES: Final[dict[str, Allowance]] = {
    "/api/admin/alerts": _ALERTS,
    "/api/discussions/{id}": _COMMENTS,
    "/api/discussions/{id}?limit=100": _COMMENTS,
    "/api/markets/{id}/discussions": _COMMENTS,
    "/api/markets?sort=trending": _DAY,
    "/api/markets?sort=trending&order=asc": _DAY,
    "/api/markets/categories": _DAY,
    "/api/markets/trending": _DAY,
    "/api/markets/trending?limit=20": _DAY,
    "/api/markets/{id}": Allowance("the market's last day is summed, by hour and by wallet", 300),
    "/api/markets?tag=election": _MATCHES,
    "/api/markets?q=election": _MATCHES,
    "/api/markets?q=electoin": _MATCHES,
    "/api/markets?sort=volume": _OPEN_VOTES,
    "/api/markets?category=crypto&sort=volume": _OPEN_VOTES,
    "/api/markets?state=PROPOSED,DISPUTED": _OPEN_VOTES,
    "/api/markets/{id}/stats": Allowance("the market's days of trading are summed", 366),
    "/api/markets/{id}/votes": Allowance("the votes of the market are counted", 2_000),
    "/api/positions/{wallet}": _ITS_POSITIONS,
    "/api/stats": Allowance(
        "the sums are of all markets, once for all callers (see CacheForAllMarkets), and of the last day",
        2_000,
        frozenset({"markets", "position_results"}),
    ),
    "/api/trades/history": _ITS_MARKETS,
    "/api/trades/history?market_id=MARKET": _TRADED_TOGETHER,
    "/api/users/me": _ITS_VOTES,
    "/api/users/{wallet}": _ITS_VOTES,
    "/api/users/{wallet}/portfolio": _ITS_POSITIONS,
    "/api/users/{wallet}/portfolio?limit=10": _ITS_POSITIONS,
    "/api/users/{wallet}/positions": _ITS_POSITIONS,
    "/api/users/{wallet}/stats": _ITS_MARKETS,
    "/api/users/{wallet}/trades": _ITS_MARKETS,
    "/api/users/{wallet}/votes": _ITS_VOTES,
    "/api/users/{wallet}/votes?limit=100": _ITS_VOTES,
}
"""What a request reads beyond the rule, by the request."""
