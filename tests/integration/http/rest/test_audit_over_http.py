from __future__ import annotations

from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import Story
from zmartd.store import market_audits
from zmartd.store.market_audits import Audited

CONFIGURATION = "11111111111111111111111111111111"


async def test_before_the_first_pass_nothing_is_told(api: Api) -> None:
    answer = await api.anybody.get("/api/audit")
    assert (answer.status, answer.body) == (200, {"audited": None, "differing": [], "uncompared": []})


async def test_anybody_can_read_what_differs_and_since_when(api: Api) -> None:
    story = Story(3)
    story.create()
    await api.indexer.apply(story.transactions)
    async with api.database.service_reader() as connection:
        address = await connection.fetchval("select on_chain_address from markets")
        found = Audited(
            address=address,
            version=1,
            slot=7,
            accounts=3,
            differences=2,
            differing=("total_volume", "position.shares_yes"),
        )
        await market_audits.record(connection, found)
        await market_audits.record(connection, Audited(address=CONFIGURATION, version=1, slot=7, accounts=1))
        await market_audits.finish(connection, CONFIGURATION, 7)
    body = (await api.anybody.get("/api/audit")).body
    (differing,) = body["differing"]
    assert differing == {
        "on_chain_address": address,
        "market_id": story.market_id.hex(),
        "differences": 2,
        "fields": ["total_volume", "position.shares_yes"],
        "differs_since": differing["differs_since"],
    }
    totals = body["audited"]
    assert totals == {
        "slot": 7,
        "finished_at": totals["finished_at"],
        "markets_count": 1,
        "accounts_count": 4,
        "differences": 2,
        "differing_markets": 1,
        "moving_markets": 0,
        "failed_markets": 0,
        "oldest_compared_at": totals["oldest_compared_at"],
    }
    assert totals["oldest_compared_at"] <= differing["differs_since"] <= totals["finished_at"]


async def test_anybody_can_read_what_could_not_be_compared_and_since_when(api: Api) -> None:
    story = Story(3)
    story.create()
    await api.indexer.apply(story.transactions)
    async with api.database.service_reader() as connection:
        address = await connection.fetchval("select on_chain_address from markets")
        await market_audits.record(
            connection, Audited(address=address, version=1, slot=7, failure="the RPC at 10.0.0.7 refuses it")
        )
        await market_audits.record(connection, Audited(address=CONFIGURATION, version=1, slot=7))
        await market_audits.record(connection, Audited(address=CONFIGURATION, version=1, slot=8, moving=True))
    body = (await api.anybody.get("/api/audit")).body
    failing, moving = body["uncompared"]
    assert failing == {
        "on_chain_address": address,
        "market_id": story.market_id.hex(),
        "why": "failing",
        "since": failing["since"],
        "compared_at": None,
    }
    assert (moving["on_chain_address"], moving["why"]) == (CONFIGURATION, "moving")
    assert moving["compared_at"] <= moving["since"]
