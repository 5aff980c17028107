"""The reads that `bench.scale` measures, and how it asks them."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import asyncpg
from msgspec import Struct

from bench.scale_fill import SUBJECTS
from zmartd.market.iso_time import iso_time

WARMING: Final = 6
"""Requests that are not measured: Postgres plans a prepared statement anew five times."""
SAMPLES: Final = 200


class Read(Struct, frozen=True):
    """A request. Its path names what is chosen for it:

    BUSIEST_MARKET and BUSIEST_WALLET have a tenth of all trades each; MARKET and WALLET are others each
    time, as often as they trade; NEWEST is the time of the newest trade, YEAR_AGO and DAY_AGO are before it;
    WORD is one that an eighth of all questions have.
    """

    name: str
    path: str
    signed_in: bool = False
    """As the busiest wallet."""


READS: Final = (
    Read("market detail", "/api/markets/MARKET"),
    Read("market detail, busiest", "/api/markets/BUSIEST_MARKET"),
    Read("prices of a market", "/api/markets/BUSIEST_MARKET/prices"),
    Read("markets, newest", "/api/markets?limit=20"),
    Read("markets, by volume", "/api/markets?sort=volume&limit=20"),
    Read("markets, trending", "/api/markets?sort=trending&limit=20"),
    Read("markets of a category", "/api/markets?category=crypto&limit=20"),
    Read("markets with a tag", "/api/markets?tag=WORD&limit=20"),
    Read("search for a word", "/api/markets?q=WORD"),
    Read("search for a mistyped word", "/api/markets?q=electoin"),
    Read("three trending markets", "/api/markets/trending"),
    Read("categories", "/api/markets/categories"),
    Read("related markets", "/api/markets/MARKET/related"),
    Read("feed", "/api/markets/activity"),
    Read("feed of trades", "/api/markets/activity?type=trade&limit=100"),
    Read("market stats", "/api/markets/MARKET/stats"),
    Read("market stats, busiest", "/api/markets/BUSIEST_MARKET/stats"),
    Read("platform stats", "/api/stats"),
    Read("year of daily candles", "/api/markets/MARKET/candles?interval=1d&from=YEAR_AGO&to=NEWEST"),
    Read(
        "year of daily candles, busiest",
        "/api/markets/BUSIEST_MARKET/candles?interval=1d&from=YEAR_AGO&to=NEWEST",
    ),
    Read("100 hourly candles, busiest", "/api/markets/BUSIEST_MARKET/candles?interval=1h"),
    Read(
        "day of 5-minute candles, busiest",
        "/api/markets/BUSIEST_MARKET/candles?interval=5m&from=DAY_AGO&to=NEWEST",
    ),
    Read("price history, busiest", "/api/markets/BUSIEST_MARKET/price-history"),
    Read("events of a market, busiest", "/api/markets/BUSIEST_MARKET/events"),
    Read("holders", "/api/markets/MARKET/holders"),
    Read("holders, busiest", "/api/markets/BUSIEST_MARKET/holders"),
    Read("trades of a market, busiest", "/api/markets/BUSIEST_MARKET/trades"),
    Read("200 trades of a market, busiest", "/api/markets/BUSIEST_MARKET/trades?limit=200"),
    Read("trades of all markets", "/api/trades"),
    Read("fees of a market", "/api/markets/BUSIEST_MARKET/fees"),
    Read("votes of a market", "/api/markets/BUSIEST_MARKET/votes"),
    Read("discussion of a market", "/api/markets/BUSIEST_MARKET/discussions"),
    Read("estimate", "/api/trades/estimate?market_id=MARKET&outcome=true&target_cost=1000000000"),
    Read("profile of a wallet", "/api/users/WALLET"),
    Read("profile of a wallet, busiest", "/api/users/BUSIEST_WALLET"),
    Read("own portfolio, busiest", "/api/users/BUSIEST_WALLET/portfolio", signed_in=True),
    Read("own positions, busiest", "/api/users/BUSIEST_WALLET/positions", signed_in=True),
    Read("positions page, busiest", "/api/positions/BUSIEST_WALLET", signed_in=True),
    Read("own position", "/api/users/BUSIEST_WALLET/positions/BUSIEST_MARKET", signed_in=True),
    Read("own trades, busiest", "/api/users/BUSIEST_WALLET/trades", signed_in=True),
    Read("own trade history, busiest", "/api/trades/history", signed_in=True),
    Read("own votes", "/api/users/BUSIEST_WALLET/votes", signed_in=True),
    Read("own stats, busiest", "/api/users/BUSIEST_WALLET/stats", signed_in=True),
    Read("leaderboard", "/api/leaderboard"),
    Read("leaderboard, 100 by volume of a day", "/api/leaderboard?by=volume&period=24h&limit=100"),
    Read("audit", "/api/audit"),
)


class Subjects(Struct, frozen=True):
    """What the paths of one database are about."""

    busiest_market: str
    busiest_wallet: str
    markets: list[str]
    wallets: list[str]
    newest: datetime

    @classmethod
    async def of(cls, connection: asyncpg.Connection) -> Subjects:
        samples = await connection.fetch(
            "select market_id, user_wallet from trades"
            " where id in (select (random() * (select max(id) from trades))::bigint"
            "                from generate_series(1, $1))",
            SAMPLES,
        )
        return cls(
            await connection.fetchval("select id from markets order by trades_count desc limit 1"),
            await connection.fetchval(
                "select user_wallet from user_positions"
                " group by user_wallet order by sum(trades_count) desc limit 1"
            ),
            [row["market_id"] for row in samples],
            [row["user_wallet"] for row in samples],
            await connection.fetchval("select max(block_time) from trades"),
        )

    def path_of(self, read: Read) -> str:
        """The path of the read's next request."""
        chosen = {
            "BUSIEST_MARKET": self.busiest_market,
            "BUSIEST_WALLET": self.busiest_wallet,
            "MARKET": random.choice(self.markets),
            "WALLET": random.choice(self.wallets),
            "WORD": random.choice(SUBJECTS),
            "YEAR_AGO": quote(iso_time(self.newest - timedelta(days=365))),
            "DAY_AGO": quote(iso_time(self.newest - timedelta(days=1))),
            "NEWEST": quote(iso_time(self.newest)),
        }
        path = read.path
        for name, value in chosen.items():  # the longer names come first
            path = path.replace(name, value)
        return path


class Client:
    """One connection to the daemon, which asks one thing after the other, each past the daemon's memory."""

    def __init__(
        self, port: int, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._port = port
        self._token = token
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, token: str) -> Client:
        return cls(port, token, *await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        self._writer.close()

    async def ask(self, path: str, *, signed_in: bool) -> float:
        """The seconds until the whole answer is there. Raises RuntimeError unless it is 200."""
        credential = f"Authorization: Bearer {self._token}\r\n" if signed_in else ""
        begun = time.perf_counter()
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{credential}"
            "Cache-Control: no-cache\r\n\r\n".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
        body = await self._reader.readexactly(int(fields["content-length"]))
        seconds = time.perf_counter() - begun
        if head.split()[1] != "200":
            raise RuntimeError(f"{path}: {head.splitlines()[0]} {body.decode()}")
        return seconds
