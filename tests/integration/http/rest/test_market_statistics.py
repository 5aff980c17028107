from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import whole_life
from tests.integration.store.rows import (
    insert_market,
    insert_position,
    insert_trade,
    market_id,
    wallet,
)
from zmartd.market import ids
from zmartd.market.lifecycle import MarketState

SOL = 10**9
NOW = datetime.now(UTC)
WALLET = Keypair.from_seed(bytes([9] * 32))


async def test_holders_are_listed_the_largest_first_of_one_outcome_or_of_both(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
        other = await insert_market(connection, "other")
        await insert_position(connection, market, wallet("a"), shares_yes=30, shares_no=50)
        await insert_position(connection, market, wallet("b"), shares_yes=10, shares_no=0)
        await insert_position(connection, market, wallet("gone"), shares_yes=0)
        await insert_position(connection, market, wallet("unknown"), shares_yes=-5)
        await insert_position(connection, other, wallet("c"), shares_yes=99)
    path = f"/api/markets/{wallet('market m')}/holders"

    answer = await api.as_wallet(WALLET).get(path)

    assert answer.body == {
        "market_id": market,
        "holders": [
            {
                "user_wallet": wallet("a"),
                "outcome": False,
                "outcome_label": "NO",
                "shares": "50",
                "percent": 100.0,
            },
            {
                "user_wallet": wallet("a"),
                "outcome": True,
                "outcome_label": "YES",
                "shares": "30",
                "percent": 75.0,
            },
            {
                "user_wallet": wallet("b"),
                "outcome": True,
                "outcome_label": "YES",
                "shares": "10",
                "percent": 25.0,
            },
        ],
        "count": 3,
        "total": 3,
        "next_cursor": None,
    }
    of_yes = (await api.anybody.get(path, outcome="true")).body["holders"]
    assert [(one["user_wallet"], one["shares"]) for one in of_yes] == [
        (ids.masked(wallet("a")), "30"),
        (ids.masked(wallet("b")), "10"),
    ]


async def test_the_pages_of_holders_have_each_once_and_cursors_reveal_no_wallet(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
        for number in range(12):
            await insert_position(
                connection, market, wallet(str(number)), shares_yes=number % 3, shares_no=number % 2
            )
    path = f"/api/markets/{market}/holders"
    whole = (await api.anybody.get(path, limit=100)).body["holders"]
    assert len(whole) == 14

    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        answer = await api.anybody.get(path, limit=3, **cursor)
        pages += answer.body["holders"]
        following = answer.body["next_cursor"]
        cursor = None if following is None else {"cursor": following}
        assert following is None or len(following) < 100
    assert pages == whole
    assert (await api.anybody.get(path, limit=0)).body["holders"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [({"outcome": "maybe"}, "outcome"), ({"limit": "101"}, "limit"), ({"cursor": "e30"}, "cursor")],
)
async def test_bad_queries_for_holders_are_refused_by_name(
    api: Api, query: dict[str, str], field: str
) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
    answer = await api.anybody.get(f"/api/markets/{market}/holders", **query)
    assert (answer.status, [one["field"] for one in answer.body["details"]]) == (400, [field])


async def test_a_market_is_shown_with_its_last_24_hours(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m", current_price_yes=Decimal("0.7"))
        for number, (hours_ago, trader, cents) in enumerate(
            [(50, "a", 40), (25, "b", 55), (23, "a", 60), (1, "a", 70), (1, "c", 70)]
        ):
            await insert_trade(
                connection,
                str(number),
                market,
                wallet(trader),
                cost=SOL,
                price_after=Decimal(cents) / 100,
                slot=100 + number,
                block_time=NOW - timedelta(hours=hours_ago),
            )
        for trader in "abc":
            await insert_position(connection, market, wallet(trader))
        await insert_position(connection, market, wallet("given shares"), trades_count=0)

    body = (await api.anybody.get(f"/api/markets/{market}")).body

    assert (body["change_24h"], body["volume_24h"]) == (0.15, str(3 * SOL))
    assert (body["traders_24h"], body["traders_count"]) == (2, 3)


async def test_the_platform_statistics_are_the_sums_of_all_markets(api: Api) -> None:
    story = whole_life(1, trades=12)
    await api.indexer.apply(story.transactions)
    async with api.database.service() as connection:
        await insert_market(connection, "undone", orphaned=True, total_volume=5)
        sums = {"total_volume": 5, "trades_count": 2, "current_liquidity": 7}
        fees = {"accumulated_protocol_fees": 1, "resolver_fees_earned": 2, "lp_fees_earned": 3}
        await insert_market(connection, "disputed", MarketState.DISPUTED, **sums, **fees)
        for hours in (0, 25):
            at = datetime.fromtimestamp(story.now, UTC) - timedelta(hours=hours)
            trade = {"block_time": at, "cost": 2}
            await insert_trade(connection, f"{hours}", market_id("disputed"), wallet("x"), **trade)
        await insert_position(connection, market_id("disputed"), wallet("x"))

    body = (await api.anybody.get("/api/stats")).body

    assert body["markets_by_state"] == {
        "PROPOSED": 0,
        "APPROVED": 0,
        "ACTIVE": 0,
        "RESOLVING": 0,
        "DISPUTED": 1,
        "FINALIZED": 1,
        "CANCELLED": 0,
    }
    assert (body["markets_count"], body["active_markets"], body["open_interest"]) == (2, 0, "7")
    assert (body["total_volume"], body["volume_24h"]) == (str(story.volume + 5), str(story.volume + 2))
    assert (body["trades_count"], body["trades_24h"]) == (14, 13)
    traders = len(story.invested) + 1
    assert (body["traders_count"], body["traders_24h"]) == (traders, traders)
    protocol, resolver, lp = story.fees
    assert body["fees"] == {
        "protocol": str(protocol + 1),
        "resolver": str(resolver + 2),
        "lp": str(lp + 3),
        "total": str(protocol + resolver + lp + 6),
    }


async def test_without_markets_the_platform_statistics_are_zeros(api: Api) -> None:
    body = (await api.anybody.get("/api/stats")).body
    assert (body["total_volume"], body["trades_count"], body["open_interest"]) == ("0", 0, "0")
    assert body["fees"]["total"] == "0"


async def test_a_finalized_market_shows_its_outcome_and_its_fees(api: Api) -> None:
    story = whole_life(3, trades=10)
    await api.indexer.apply(story.transactions)
    path = f"/api/markets/{story.market}"

    resolution = (await api.anybody.get(f"{path}/resolution")).body
    fees = (await api.anybody.get(f"{path}/fees")).body

    withdrawn_of_the_pool = max(123_456 - story.fees[2], 0)
    assert resolution == {
        "resolution": {
            "resolved": True,
            "state": "FINALIZED",
            "proposed_outcome": False,
            "proposed_outcome_label": "NO",
            "final_outcome": True,
            "final_outcome_label": "YES",
            "current_liquidity": str(story.liquidity),
            "liquidity_left": str(story.liquidity - story.claimed - withdrawn_of_the_pool),
            "total_winning_shares": str(story.q[True]),
            "disputed": True,
            "deadline": None,
            "final_not_before": None,
            "winning_outcome": "YES",
            "total_pool": str(story.liquidity),
        }
    }
    assert (await api.anybody.get(f"/api/votes/{story.market}")).body["target"] is None
    protocol, resolver, lp = story.fees
    assert fees == {
        "fees": {
            "protocol": str(protocol),
            "resolver": str(resolver),
            "lp": str(lp),
            "total": str(protocol + resolver + lp),
            "total_collected": str(protocol + resolver + lp),
            "protocol_collected": str(protocol),
            "creator_collected": str(lp),
            "staker_collected": str(resolver),
        }
    }


async def test_an_active_market_has_no_resolution(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m", MarketState.RESOLVING, proposed_outcome=True)
    body = (await api.anybody.get(f"/api/markets/{market}/resolution")).body
    assert (body["resolution"]["resolved"], body["resolution"]["final_outcome"]) == (False, None)
    assert body["resolution"]["total_winning_shares"] == "0"


async def test_only_the_wallet_itself_sees_its_shares_in_a_market(api: Api) -> None:
    caller, other = api.as_wallet(WALLET), api.as_wallet(Keypair.from_seed(bytes([8] * 32)))
    async with api.database.service() as connection:
        market = await insert_market(connection, "m", MarketState.FINALIZED, final_outcome=True)
        await insert_position(
            connection, market, caller.address, shares_yes=30, has_claimed=True, claimed_amount=77
        )
        await insert_market(connection, "not mine")
    path = f"/api/markets/{market}/positions/{caller.address}"

    assert (await caller.get(path)).body == {
        "position": {
            "shares_yes": "30",
            "shares_no": "0",
            "claimable": "0",
            "has_claimed": True,
            "claimed_amount": "77",
            "claimed": True,
            "claim_amount": "77",
        }
    }
    assert (await api.anybody.get(path)).status == 401
    assert (await other.get(path)).status == 403
    nothing = await caller.get(f"/api/markets/{market_id('not mine')}/positions/{caller.address}")
    assert (nothing.status, nothing.body["code"]) == (404, "position_not_found")
    assert (await caller.get(f"/api/markets/{market}/positions/nobody")).status == 400


@pytest.mark.parametrize("path", ["holders", "resolution", "fees", "candles"])
async def test_an_unknown_market_has_no_statistics(api: Api, path: str) -> None:
    answer = await api.anybody.get(f"/api/markets/{'ab' * 32}/{path}")
    assert (answer.status, answer.body["code"]) == (404, "market_not_found")


async def test_both_sums_of_an_answer_are_of_one_snapshot(api: Api) -> None:
    """Every trade here is of the last 24 hours, so its volume is all there is, whoever is writing."""
    async with api.database.service() as connection:
        market = await insert_market(connection, "m", trades_count=0, total_volume=0)

    async def trade_on() -> None:
        for number in count():
            async with api.database.service() as connection:
                await insert_trade(
                    connection, str(number), market, wallet("a"), cost=1, block_time=NOW, slot=number
                )
                await connection.execute("update markets set total_volume = total_volume + 1")

    trading = asyncio.create_task(trade_on())
    seen: dict[str, set[str]] = {"/api/stats": set(), f"/api/markets/{market}": set()}
    try:
        while any(len(volumes) < 25 for volumes in seen.values()):
            assert not trading.done(), trading
            for path, volumes in seen.items():
                response = await api.client.get(path, headers={"Cache-Control": "no-cache"})
                body = await response.json()
                assert body["total_volume"] == body["volume_24h"], path
                volumes.add(body["volume_24h"])
    finally:
        trading.cancel()
        await asyncio.wait([trading])


async def test_the_platform_statistics_have_an_etag(api: Api) -> None:
    tag = (await api.client.get("/api/stats")).headers["ETag"]
    same = await api.client.get("/api/stats", headers={"If-None-Match": tag})
    assert same.status == 304
    story = whole_life(1, trades=2)
    await api.indexer.apply(story.transactions)
    changed = await api.client.get("/api/stats", headers={"If-None-Match": tag, "Cache-Control": "no-cache"})
    assert (await changed.json())["trades_count"] == 2
