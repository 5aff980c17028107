from __future__ import annotations

from typing import Any

import pytest

from tests.integration.http.rest.rest_api import Api
from tests.integration.http.rest.rest_stage import SOL, Stage
from tests.integration.indexer.story import Story
from zmartd.market import quotes
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import SCALE, Curve
from zmartd.market.quotes import Pool

PATH = "/api/trades/estimate"


async def traded(api: Api) -> tuple[Story, Pool]:
    """A market with twelve trades, and what its next one depends on."""
    story = Story(1)
    story.create()
    story.open_for_trading()
    story.trade(12)
    await api.indexer.apply(story.transactions)
    async with api.database.service() as connection:
        await connection.execute(
            "update protocol set protocol_fee_bps = 250, resolver_reward_bps = 200, "
            "liquidity_provider_fee_bps = 400"
        )
    return story, Pool(Curve(story.q[True], story.q[False], 500 * SCALE), FeeRates(250, 200, 400))


async def test_a_purchase_is_estimated_with_its_fees_and_prices(api: Api) -> None:
    story, pool = await traded(api)
    quote = quotes.buy_for_cost(pool, False, SOL)

    answer = await api.anybody.get(PATH, market_id=str(story.market), outcome="false", target_cost=SOL)

    before, after = SCALE - quote.price_yes_before, SCALE - quote.price_yes_after
    assert answer.status == 200, answer.body
    assert answer.body == {
        "market_id": story.market_id.hex(),
        "market_ended": False,
        "trade_type": "buy",
        "outcome": False,
        "outcome_label": "NO",
        "shares": str(quote.shares),
        "gross": str(quote.amount_lamports),
        "fee": {
            "protocol": str(quote.fees.protocol),
            "resolver": str(quote.fees.resolver),
            "lp": str(quote.fees.lp),
            "total": str(quote.fees.total),
        },
        "net": str(quote.total_lamports),
        "target_cost": str(SOL),
        "slippage_bps": 100,
        "min_shares": str(-(-quote.shares * 99 // 100)),
        "max_cost": str(SOL),
        "min_proceeds": None,
        "price_before": before / SCALE,
        "price_after": after / SCALE,
        "average_price": pytest.approx(quote.total_lamports / quote.shares, abs=1e-9),
        "price_impact": pytest.approx((after - before) / before, abs=1e-9),
        "slot": story.slot,
        "commitment": "confirmed",
    }


async def test_the_target_cost_for_shares_is_the_smallest_that_gives_them_and_the_slippage(api: Api) -> None:
    story, pool = await traded(api)
    wanted = 3 * SCALE + 7
    smallest = quotes.buy_for_shares(pool, True, wanted).target_cost_lamports

    for slippage_bps, target_cost in ((0, smallest), (250, smallest * 10_250 // 10_000)):
        query = {"outcome": "true", "shares": wanted, "slippage_bps": slippage_bps}
        answer = await api.anybody.get(PATH, marketId=story.market_id.hex(), **query)
        assert (answer.body["target_cost"], answer.body["max_cost"]) == (str(target_cost), str(target_cost))
        assert answer.body["min_shares"] == str(wanted)
        assert answer.body["shares"] == str(quotes.buy_for_cost(pool, True, target_cost).shares)


async def test_a_sale_is_estimated_after_its_fees(api: Api) -> None:
    story, pool = await traded(api)
    quote = quotes.sell(pool, True, SCALE // 4, 0)

    answer = await api.anybody.get(
        PATH, market_id=story.market_id.hex(), trade_type="sell", outcome="true", shares=SCALE // 4
    )

    assert answer.body["net"] == str(quote.total_lamports)
    assert answer.body["gross"] == str(quote.amount_lamports)
    assert answer.body["min_proceeds"] == str(-(-quote.total_lamports * 99 // 100))
    assert [answer.body[name] for name in ("target_cost", "max_cost", "min_shares")] == [None] * 3
    assert answer.body["price_impact"] < 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"target_cost": SOL, "shares": SOL}, "target_cost"),
        ({}, "target_cost"),
        ({"trade_type": "sell", "target_cost": SOL}, "shares"),
        ({"trade_type": "swap", "shares": SOL}, "trade_type"),
        ({"shares": 0}, "shares"),
        ({"shares": SOL, "slippage_bps": 5_001}, "slippage_bps"),
        ({"shares": 2**64}, "shares"),
        ({"shares": "1e9"}, "shares"),
        ({"target_cost": -1}, "target_cost"),
        ({"outcome": "YES?", "shares": SOL}, "outcome"),
        ({"market_id": "m", "shares": SOL}, "market_id"),
    ],
)
async def test_bad_queries_for_estimates_are_refused_by_name(
    api: Api, query: dict[str, Any], field: str
) -> None:
    answer = await api.anybody.get(PATH, **{"market_id": "ab" * 32, "outcome": "true", **query})
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert [problem["field"] for problem in answer.body["details"]] == [field]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"target_cost": 9_999}, "TradeTooSmall"),
        ({"shares": 2**64 - 1}, "TradeTooLarge"),
        ({"trade_type": "sell", "shares": 2**63}, "InsufficientShares"),
    ],
)
async def test_a_trade_that_the_program_would_refuse_is_refused_with_its_reason(
    api: Api, query: dict[str, Any], error: str
) -> None:
    story, _ = await traded(api)
    answer = await api.anybody.get(PATH, market_id=story.market_id.hex(), outcome="true", **query)
    assert (answer.status, answer.body["error"]) == (422, error)
    assert "wallet" not in answer.body["message"], "an estimate is for nobody"


async def test_only_an_active_market_of_a_running_protocol_has_estimates(api: Api) -> None:
    story, _ = await traded(api)
    query = {"market_id": story.market_id.hex(), "outcome": "true", "target_cost": SOL}
    async with api.database.service() as connection:
        await connection.execute("update markets set state = 'RESOLVING'")
    assert (await api.anybody.get(PATH, **query)).body["error"] == "WrongState"
    async with api.database.service() as connection:
        await connection.execute("update protocol set is_paused = true")
    assert (await api.anybody.get(PATH, **query)).body["error"] == "WrongState"
    async with api.database.service() as connection:
        await connection.execute("update markets set state = 'ACTIVE'")
    assert (await api.anybody.get(PATH, **query)).body["error"] == "ProtocolPaused"


async def test_an_unknown_market_has_no_estimates(api: Api) -> None:
    answer = await api.anybody.get(PATH, market_id="ab" * 32, outcome="true", shares=SCALE)
    assert (answer.status, answer.body["code"]) == (404, "market_not_found")


async def test_an_estimate_is_the_result_of_the_next_trade(stage: Stage) -> None:
    market_id = await stage.active_market()
    for trade_type, amounts in [("buy", {"target_cost": 2 * SOL}), ("sell", {"shares": SOL // 3})]:
        order: dict[str, Any] = {"market_id": market_id, "outcome": True, **amounts}
        estimate = await stage.api.anybody.get(PATH, **{**order, "outcome": "true", "trade_type": trade_type})
        landed = await stage.alice.carry_out(f"/api/trades/{trade_type}", order)
        (event,) = landed.body["events"]
        assert event["shares"] == estimate.body["shares"]
        assert event["cost" if trade_type == "buy" else "proceeds"] == estimate.body["net"]
        assert int(event["new_price_yes"]) / SCALE == estimate.body["price_after"]
