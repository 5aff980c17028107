from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asyncpg import Connection
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import whole_life
from tests.integration.store.rows import (
    insert_market,
    insert_registration,
    insert_trade,
    market_id,
    signature,
    wallet,
)
from zmartd.http.markets.discovery import trend
from zmartd.market import ids
from zmartd.market.lifecycle import MarketState

SOL = 10**9
NOW = datetime.now(UTC)
WALLET = Keypair.from_seed(bytes([9] * 32))


async def insert_traded(
    connection: Connection, name: str, market: str, hours_ago: float, **columns: Any
) -> None:
    trader = wallet(str(columns.pop("trader", name)))
    at = NOW - timedelta(hours=hours_ago)
    slot = 1_000_000 - int(hours_ago * 100)
    await insert_trade(connection, name, market_id(market), trader, block_time=at, slot=slot, **columns)


async def test_trending_weighs_the_volume_and_the_traders_of_24_hours(api: Api) -> None:
    async with api.database.service() as connection:
        for name in ("voluminous", "crowded", "quiet", "quieter"):
            await insert_market(
                connection,
                name,
                question=f"{name}?",
                current_price_yes=Decimal("0.625"),
                total_volume=9 if name == "quiet" else 0,
            )
        await insert_market(connection, "over", MarketState.RESOLVING)
        await insert_market(connection, "undone", orphaned=True)
        for name in ("over", "undone"):
            await insert_traded(connection, name, name, 1, cost=900 * SOL)
        await insert_traded(connection, "1", "voluminous", 30, cost=900 * SOL, price_after=Decimal("0.75"))
        await insert_traded(connection, "2", "voluminous", 23, cost=2 * SOL)
        sale = {"trade_type": "sell", "amount": SOL, "cost": 1}
        await insert_traded(connection, "3", "voluminous", 1, trader="2", **sale)
        for number in range(4, 10):
            await insert_traded(connection, str(number), "crowded", 1, cost=SOL // 100)

    answer = await api.anybody.get("/api/markets/trending", limit=10)

    assert answer.body["count"] == 4
    positions = [market.pop("stream_position").partition(":") for market in answer.body["trending"]]
    assert {(len(epoch), seq) for epoch, _, seq in positions} == {(16, "0")}
    assert answer.body["trending"][:2] == [
        {
            "id": market_id("crowded"),
            "question": "crowded?",
            "price_yes": 0.625,
            "change_24h": 0.125,
            "volume_24h": str(6 * SOL // 100),
            "traders_24h": 6,
            "trending_score": 2.436,
            "yesPrice": 0.625,
            "change24h": 12.5,
            "volume24h": 0.06,
        },
        {
            "id": market_id("voluminous"),
            "question": "voluminous?",
            "price_yes": 0.625,
            "change_24h": -0.125,
            "volume_24h": str(3 * SOL),
            "traders_24h": 1,
            "trending_score": 2.2,
            "yesPrice": 0.625,
            "change24h": -12.5,
            "volume24h": 3.0,
        },
    ]
    assert [market["id"] for market in answer.body["trending"][2:]] == [
        market_id("quiet"),
        market_id("quieter"),
    ]
    assert len((await api.anybody.get("/api/markets/trending")).body["trending"]) == 3
    assert (await api.anybody.get("/api/markets/trending", limit=0)).body["trending"] == []
    assert (await api.anybody.get("/api/markets/trending", limit=101)).status == 400


async def test_the_trending_list_agrees_with_the_list_sorted_by_trending(api: Api) -> None:
    async with api.database.service() as connection:
        for name in ("a", "b", "c"):
            await insert_market(connection, name)
        for number, name in enumerate("abbccc"):
            await insert_traded(connection, str(number), name, 1)
    trending = (await api.anybody.get("/api/markets/trending")).body["trending"]
    listed = (await api.anybody.get("/api/markets", sort="trending")).body["markets"]
    assert [market["id"] for market in trending] == [market["id"] for market in listed]
    assert trending[0]["id"] == market_id("c")


async def test_all_categories_are_shown_with_their_markets_and_the_trend_of_their_volume(api: Api) -> None:
    async with api.database.service() as connection:
        await insert_market(connection, "a", category="sports")
        await insert_market(connection, "b", MarketState.FINALIZED, category="sports")
        await insert_market(connection, "c", category="politics")
        await insert_market(connection, "undone", category="science", orphaned=True)
        await insert_traded(connection, "1", "a", 47, cost=SOL)
        await insert_traded(connection, "2", "a", 23, cost=2 * SOL)
        await insert_traded(connection, "3", "a", 49, cost=99 * SOL)
        await insert_traded(connection, "4", "c", 2, cost=SOL)

    answer = await api.anybody.get("/api/markets/categories")

    assert answer.body["count"] == 8
    assert answer.body["categories"][:3] == [
        {
            "id": "sports",
            "name": "Sports",
            "markets_count": 2,
            "count": 2,
            "active_markets": 1,
            "volume_24h": str(2 * SOL),
            "trend": "+100%",
            "emoji": "⚽",
        },
        {
            "id": "politics",
            "name": "Politics",
            "markets_count": 1,
            "count": 1,
            "active_markets": 1,
            "volume_24h": str(SOL),
            "trend": "new",
            "emoji": "🏛️",
        },
        {
            "id": "crypto",
            "name": "Crypto",
            "markets_count": 0,
            "count": 0,
            "active_markets": 0,
            "volume_24h": "0",
            "trend": "+0%",
            "emoji": "₿",
        },
    ]
    assert sum(category["count"] for category in answer.body["categories"]) == 3


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(0, 0, "+0%"), (0, 1, "new"), (4, 3, "-25%"), (3, 4, "+33%"), (5, 5, "+0%"), (7, 0, "-100%")],
)
def test_a_trend_is_the_change_in_percent(before: int, after: int, said: str) -> None:
    assert trend(before, after) == said


async def test_related_markets_are_active_of_the_same_category_first_then_the_newest(api: Api) -> None:
    async with api.database.service() as connection:
        for age, (name, category) in enumerate(
            [
                ("newest", "sports"),
                ("it", "crypto"),
                ("like", "crypto"),
                ("older like", "crypto"),
                ("old", "other"),
            ]
        ):
            await insert_market(
                connection,
                name,
                category=category,
                created_at=NOW - timedelta(days=age),
                current_price_yes=Decimal("0.25"),
                question=name,
            )
        await insert_market(connection, "over", MarketState.CANCELLED, category="crypto")
    path = f"/api/markets/{market_id('it')}/related"

    answer = await api.anybody.get(path)

    assert [market["question"] for market in answer.body["related"]] == ["like", "older like", "newest"]
    assert answer.body["related"][0] == {
        "stream_position": answer.body["related"][1]["stream_position"],  # nothing was told of either
        "id": market_id("like"),
        "question": "like",
        "price_yes": 0.25,
        "yesPrice": 0.25,
        "category": "crypto",
    }
    assert answer.body["count"] == 3
    by_address = await api.anybody.get(f"/api/markets/{wallet('market it')}/related")
    assert by_address.body == answer.body
    assert (await api.anybody.get(path, limit=100)).body["count"] == 4


@pytest.mark.parametrize("name", ["ab" * 32, wallet("nowhere"), "market-1-2"])
async def test_an_unknown_market_has_no_related_markets(api: Api, name: str) -> None:
    answer = await api.anybody.get(f"/api/markets/{name}/related")
    assert (answer.status, answer.body) == (200, {"related": [], "count": 0})


async def test_the_activity_feed_has_trades_creations_and_resolutions_in_one_list(api: Api) -> None:
    async with api.database.service() as connection:
        await insert_market(
            connection,
            "m",
            MarketState.FINALIZED,
            question="Will it rain?",
            created_at=NOW - timedelta(hours=9),
            finalized_at=NOW - timedelta(hours=1),
            proposed_outcome=True,
            final_outcome=True,
            resolver_wallet=wallet("resolver"),
        )
        await insert_traded(connection, "buy", "m", 5, shares=12 * SOL + 1, cost=1_234_000_000)
        sold = {"trade_type": "sell", "outcome": False, "shares": 250_000_000, "cost": SOL}
        await insert_traded(connection, "sell", "m", 4, **sold)

    answer = await api.as_wallet(WALLET).get("/api/markets/activity")

    resolution, sale, purchase, creation = answer.body["activities"]
    assert resolution == {
        "id": f"resolution-{market_id('m')}",
        "type": "resolution",
        "user_wallet": wallet("resolver"),
        "market_id": market_id("m"),
        "question": "Will it rain?",
        "trade_type": None,
        "outcome": True,
        "outcome_label": "YES",
        "proposed_outcome": True,
        "shares": None,
        "gross": None,
        "fee": None,
        "net": None,
        "average_price": None,
        "occurred_at": (NOW - timedelta(hours=1)).isoformat(timespec="milliseconds")[:-6] + "Z",
        "user": wallet("resolver"),
        "action": "resolved to YES",
        "market": "Will it rain?",
        "marketId": market_id("m"),
        "time": (NOW - timedelta(hours=1)).isoformat(timespec="milliseconds")[:-6] + "Z",
        "commitment": "confirmed",
        "amount": None,
    }
    assert (sale["id"], sale["type"], sale["user"], sale["action"], sale["amount"]) == (
        f"{signature('sell')}:0",
        "trade",
        wallet("sell"),
        "sold 0.25 NO shares",
        "1.00 SOL",
    )
    assert (purchase["action"], purchase["amount"]) == ("bought 12 YES shares", "1.23 SOL")
    exact = [
        (one["trade_type"], one["outcome"], one["shares"], one["net"]) for one in (sale, purchase, creation)
    ]
    assert exact == [
        ("sell", False, "250000000", str(SOL)),
        ("buy", True, str(12 * SOL + 1), "1234000000"),
        (None, None, None, None),
    ]
    listed = (await api.anybody.get("/api/trades")).body["trades"]
    amounts = ("shares", "gross", "fee", "net", "average_price")
    shown = {one["id"]: [one[name] for name in amounts] for one in (sale, purchase)}
    assert shown == {trade["id"]: [trade[name] for name in amounts] for trade in listed}
    assert (creation["id"], creation["action"], creation["user"]) == (
        f"creation-{market_id('m')}",
        "created a market",
        wallet("creator"),
    )
    assert (answer.body["count"], answer.body["next_cursor"]) == (4, None)
    for kind, count in (("trade", 2), ("resolution", 1), ("creation", 1)):
        of_kind = (await api.anybody.get("/api/markets/activity", type=kind)).body["activities"]
        assert [activity["type"] for activity in of_kind] == [kind] * count
    assert (await api.anybody.get("/api/markets/activity", type="vote")).status == 400


async def test_the_activity_feed_does_not_say_that_a_wallet_resolved_to_what_it_did_not_propose(
    api: Api,
) -> None:
    async with api.database.service() as connection:
        for name, final in (("overruled", True), ("without", None)):
            await insert_market(
                connection,
                name,
                MarketState.FINALIZED,
                finalized_at=NOW - timedelta(hours=len(name)),
                proposed_outcome=False,
                final_outcome=final,
                resolver_wallet=wallet("resolver"),
            )
    told = (await api.anybody.get("/api/markets/activity", type="resolution")).body["activities"]
    assert [(one["user_wallet"], one["proposed_outcome"], one["outcome"], one["action"]) for one in told] == [
        (wallet("resolver"), False, None, "proposed NO, and the backend finalized no outcome"),
        (wallet("resolver"), False, True, "proposed NO, and the backend finalized YES"),
    ]


async def test_the_activity_feed_shortens_traders_wallets_for_anonymous_callers(api: Api) -> None:
    story = whole_life(4, trades=8)
    await api.indexer.apply(story.transactions)
    signed_in = (await api.as_wallet(WALLET).get("/api/markets/activity")).body["activities"]
    anonymous = (await api.anybody.get("/api/markets/activity")).body["activities"]
    assert {activity["type"] for activity in signed_in} == {"trade", "creation", "resolution"}
    assert all(ids.is_address(activity["user"]) for activity in signed_in)
    assert anonymous == [
        activity | dict.fromkeys(("user", "user_wallet"), ids.masked(activity["user"]))
        if activity["type"] == "trade"
        else activity
        for activity in signed_in
    ]


async def test_the_pages_of_the_feed_have_each_entry_once_even_of_the_same_time(api: Api) -> None:
    async with api.database.service() as connection:
        for number in range(4):
            await insert_market(
                connection, f"m{number}", MarketState.FINALIZED, created_at=NOW, finalized_at=NOW
            )
            await insert_traded(connection, f"t{number}", f"m{number}", number % 2, trader="x")
    whole = (await api.anybody.get("/api/markets/activity", limit=100)).body["activities"]
    assert len(whole) == 12
    assert [one["time"] for one in whole] == sorted((one["time"] for one in whole), reverse=True)

    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        answer = await api.anybody.get("/api/markets/activity", limit=5, **cursor)
        pages += answer.body["activities"]
        following = answer.body["next_cursor"]
        cursor = None if following is None else {"cursor": following}
    assert pages == whole


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    async with api.database.service() as connection:
        await insert_market(connection, "a")
        await insert_market(connection, "b")
    foreign = (await api.anybody.get("/api/markets", limit=1)).body["next_cursor"]
    answer = await api.anybody.get("/api/markets/activity", cursor=foreign)
    assert (answer.status, answer.body["details"][0]["field"]) == (400, "cursor")


async def test_candles_of_both_outcomes_mirror_each_other(api: Api) -> None:
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    async with api.database.service() as connection:
        market = await insert_market(connection, "m", created_at=begin)
        for minute, cents in [(0, 60), (0, 40), (2, 55)]:
            await insert_trade(
                connection,
                f"{minute} {cents}",
                market,
                wallet("x"),
                cost=7,
                price_after=Decimal(cents) / 100,
                slot=minute,
                block_time=begin + timedelta(minutes=minute),
            )
    query = {"interval": "1m", "from": "2026-01-01T12:00:30Z", "to": "2026-01-01T12:03:00Z"}

    answer = await api.anybody.get(f"/api/markets/{wallet('market m')}/candles", **query)

    first = {
        "timestamp": "2026-01-01T12:00:00.000Z",
        "open": 0.6,
        "high": 0.6,
        "low": 0.4,
        "close": 0.4,
        "volume": "14",
        "trades_count": 2,
    }
    empty = {"open": 0.4, "high": 0.4, "low": 0.4, "close": 0.4, "volume": "0", "trades_count": 0}
    last = {"open": 0.55, "high": 0.55, "low": 0.55, "close": 0.55, "volume": "7", "trades_count": 1}
    assert answer.body == {
        "market_id": market,
        "interval": "1m",
        "outcome": True,
        "outcome_label": "YES",
        "candles": [
            first,
            {"timestamp": "2026-01-01T12:01:00.000Z", **empty},
            {"timestamp": "2026-01-01T12:02:00.000Z", **last},
        ],
        "count": 3,
    }
    of_no = await api.anybody.get(f"/api/markets/{market}/candles", outcome="NO", **query)
    assert (of_no.body["outcome"], of_no.body["outcome_label"]) == (False, "NO")
    assert of_no.body["candles"][0] == {**first, "open": 0.4, "high": 0.6, "low": 0.4, "close": 0.6}


async def test_without_from_and_to_the_candles_are_the_last_hundred(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m", created_at=NOW - timedelta(days=30))
    answer = await api.anybody.get(f"/api/markets/{market}/candles", interval="5m")
    assert answer.body["count"] in {100, 101}
    assert {candle["close"] for candle in answer.body["candles"]} == {0.5}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"interval": "2m"}, "interval"),
        ({"outcome": "MAYBE"}, "outcome"),
        ({"from": "yesterday"}, "from"),
        ({"to": "0001-01-01T00:00:00Z"}, "to"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"interval": "1m", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T16:40:01Z"}, "from"),
        ({"interval": "1d", "from": "1971-01-01T00:00:00Z"}, "from"),
    ],
)
async def test_bad_queries_for_candles_are_refused_by_name(
    api: Api, query: dict[str, str], field: str
) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
    answer = await api.anybody.get(f"/api/markets/{market}/candles", **query)
    assert (answer.status, [one["field"] for one in answer.body["details"]]) == (400, [field])


async def test_a_market_that_is_not_on_the_chain_yet_has_no_candles(api: Api) -> None:
    async with api.database.service() as connection:
        await insert_registration(connection, "pending", end_date=NOW)
    answer = await api.anybody.get(f"/api/markets/{market_id('pending')}/candles")
    assert (answer.status, answer.body["candles"]) == (200, [])
    assert (await api.anybody.get(f"/api/markets/{'ab' * 32}/candles")).status == 404
