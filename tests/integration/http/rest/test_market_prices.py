from __future__ import annotations

from tests.integration.http.rest.rest_api import Api
from tests.integration.http.rest.rest_stage import Stage
from tests.integration.indexer.story import Story
from zmartd.market.lmsr import SCALE


async def test_prices_are_those_after_the_newest_trade(api: Api) -> None:
    story = Story(1)
    story.create()
    story.open_for_trading()
    story.trade(5)
    await api.indexer.apply(story.transactions)

    for market in (story.market_id.hex(), str(story.market)):
        answer = await api.anybody.get(f"/api/markets/{market}/prices")
        assert answer.body == {
            "market_id": story.market_id.hex(),
            "price_yes": story._price() / SCALE,
            "price_no": (SCALE - story._price()) / SCALE,
            "shares_yes": str(story.q[True]),
            "shares_no": str(story.q[False]),
            "total_shares": str(story.q[True] + story.q[False]),
            "b_parameter": "500000000000",
            "slot": story.slot,
            "commitment": "confirmed",
        }


async def test_a_pending_market_has_prices_of_a_half(stage: Stage) -> None:
    proposed = (await stage.propose()).body["market"]
    answer = await stage.api.anybody.get(f"/api/markets/{proposed['id']}/prices")
    assert (answer.body["price_yes"], answer.body["price_no"], answer.body["slot"]) == (0.5, 0.5, None)


async def test_prices_of_an_unknown_market_are_not_found(api: Api) -> None:
    answer = await api.anybody.get(f"/api/markets/{'ab' * 32}/prices")
    assert (answer.status, answer.body["code"]) == (404, "market_not_found")
