from __future__ import annotations

import pytest

from tests.integration.http.rest.rest_api import PROGRAM
from tests.integration.http.rest.rest_stage import ALICE, BOB, SOL, TREASURY, Stage
from zmartd.market.lmsr import SCALE


async def test_a_buy_costs_exactly_what_was_quoted(stage: Stage) -> None:
    market_id = await stage.active_market()
    treasury = await stage.lamports(TREASURY)
    bought = await stage.alice.post(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
    )
    assert bought.status == 200
    quote = bought.body["quote"]
    assert int(quote["total"]) <= SOL
    assert int(quote["total"]) == int(quote["cost"]) + int(quote["fees"]["total"])
    assert bought.body["simulated"]["success"] is True

    landed = await stage.alice.relay(stage.alice.sign(bought.body["transaction"]))

    assert landed.status == 200
    (event,) = landed.body["events"]
    assert event["name"] == "SharesBought"
    assert (event["shares"], event["cost"]) == (quote["shares"], quote["total"])
    assert int(event["new_price_yes"]) / SCALE == quote["price_after"]
    position = await stage.position_account(market_id, ALICE)
    assert (position.shares_yes, position.total_invested) == (int(quote["shares"]), int(quote["total"]))
    assert await stage.lamports(TREASURY) - treasury == int(quote["fees"]["protocol"])
    shown = (await stage.api.anybody.get(f"/api/markets/{market_id}")).body
    assert (shown["price_yes"], shown["total_volume"]) == (quote["price_after"], quote["total"])


async def test_a_sale_brings_exactly_what_was_quoted(stage: Stage) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": False}
    await stage.alice.carry_out("/api/trades/buy", {**order, "target_cost": 5 * SOL})
    held = (await stage.position_account(market_id, ALICE)).shares_no

    sold = await stage.alice.post("/api/trades/sell", {**order, "shares": held // 2})
    landed = await stage.alice.relay(stage.alice.sign(sold.body["transaction"]))

    quote = sold.body["quote"]
    (event,) = landed.body["events"]
    assert (event["name"], event["shares"], event["proceeds"]) == (
        "SharesSold",
        str(held // 2),
        quote["total"],
    )
    assert int(quote["total"]) == int(quote["cost"]) - int(quote["fees"]["total"])
    assert quote["price_before"] > 0.5
    assert quote["price_after"] == pytest.approx(1 - int(event["new_price_yes"]) / SCALE, abs=1e-12)
    assert (await stage.position_account(market_id, ALICE)).shares_no == held - held // 2


async def test_a_buyer_may_ask_for_shares_instead(stage: Stage) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "shares": 3 * SOL}
    quoted = await stage.alice.post("/api/trades/buy", order)
    assert int(quoted.body["quote"]["shares"]) >= 3 * SOL
    target = int(quoted.body["target_cost"])

    landed = await stage.alice.carry_out("/api/trades/buy", {**order, "max_cost": target})
    assert int(landed.body["events"][0]["shares"]) >= 3 * SOL

    dearer = await stage.bob.post("/api/trades/buy", {**order, "max_cost": target})
    assert (dearer.status, dearer.body["error"], dearer.body["code"]) == (
        422,
        "SlippageExceeded",
        "slippage_exceeded",
    )
    assert int(dearer.body["details"]["target_cost"]) > target


async def test_nobody_pays_more_than_the_target_when_the_price_moves_before_landing(stage: Stage) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    slow = await stage.alice.post("/api/trades/buy", order)
    await stage.bob.carry_out("/api/trades/buy", {**order, "target_cost": 50 * SOL})
    landed = await stage.alice.relay(stage.alice.sign(slow.body["transaction"]))
    (event,) = landed.body["events"]
    assert int(event["cost"]) <= SOL
    assert int(event["shares"]) < int(slow.body["quote"]["shares"])


async def test_a_sale_below_its_minimum_proceeds_fails_on_the_chain_and_says_so(stage: Stage) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True}
    await stage.alice.carry_out("/api/trades/buy", {**order, "target_cost": 5 * SOL})
    await stage.bob.carry_out("/api/trades/buy", {**order, "target_cost": 50 * SOL})
    quote = await stage.alice.post("/api/trades/sell", {**order, "shares": SOL})
    least = quote.body["quote"]["total"]
    slow = await stage.alice.post("/api/trades/sell", {**order, "shares": SOL, "min_proceeds": least})
    held = (await stage.position_account(market_id, BOB)).shares_yes
    await stage.bob.carry_out("/api/trades/sell", {**order, "shares": held})

    late = await stage.alice.relay(stage.alice.sign(slow.body["transaction"]))

    assert (late.status, late.body["code"]) == (422, "slippage_exceeded")
    assert late.body["details"]["program_error"] == 6015


@pytest.mark.parametrize(("asked", "is_sold"), [(None, False), ("0", True), ("1", True)])
async def test_a_sale_that_names_no_limit_never_brings_less_than_its_quote_less_one_percent(
    stage: Stage, asked: str | None, is_sold: bool
) -> None:
    """BOB moves the price between the quote and the sale, as an attacker would. Asked for, 0 is no limit."""
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True}
    await stage.alice.carry_out("/api/trades/buy", {**order, "target_cost": 5 * SOL})
    await stage.bob.carry_out("/api/trades/buy", {**order, "target_cost": 50 * SOL})
    sale = await stage.alice.post("/api/trades/sell", {**order, "shares": SOL, "min_proceeds": asked})
    net = int(sale.body["quote"]["total"])
    assert sale.body["min_proceeds"] == (str(net * 99 // 100) if asked is None else asked)
    held = (await stage.position_account(market_id, BOB)).shares_yes
    await stage.bob.carry_out("/api/trades/sell", {**order, "shares": held, "min_proceeds": "0"})

    late = await stage.alice.relay(stage.alice.sign(sale.body["transaction"]))

    assert (late.status, late.body.get("code")) == ((200, None) if is_sold else (422, "slippage_exceeded"))


@pytest.mark.parametrize(
    ("path", "order", "code", "number"),
    [
        ("buy", {"outcome": True, "target_cost": 9_999}, "trade_too_small", 6018),
        ("buy", {"outcome": True, "shares": 2_001 * SOL}, "insufficient_liquidity", 6016),
        ("sell", {"outcome": True, "shares": 1}, "trade_too_small", 6018),
        ("sell", {"outcome": True, "shares": 200 * SOL}, "insufficient_shares", 6014),
        ("sell", {"outcome": True, "shares": SOL // 20}, "account_not_initialized", 3012),
        ("sell", {"outcome": True, "shares": SOL // 20, "min_proceeds": SOL}, "slippage_exceeded", 6015),
    ],
)
async def test_a_trade_that_would_fail_is_refused_with_the_program_s_error(
    stage: Stage, path: str, order: dict[str, object], code: str, number: int
) -> None:
    market_id = await stage.active_market()
    refused = await stage.alice.post(f"/api/trades/{path}", {"market_id": market_id, **order})
    assert (refused.status, refused.body["code"]) == (422, code)
    assert refused.body["details"] == {"program_error": number}
    assert refused.body["message"]


async def test_a_market_that_is_not_active_is_not_traded(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    for path, order in (
        ("buy", {"target_cost": SOL}),
        ("buy", {"target_cost": 9_999}),  # too small as well, which the program would look at later
        ("sell", {"shares": 200 * SOL}),  # more than there are
    ):
        refused = await stage.alice.post(
            f"/api/trades/{path}", {"market_id": market_id, "outcome": True, **order}
        )
        assert (refused.status, refused.body["error"]) == (422, "InvalidMarketState")


async def test_a_paused_protocol_is_not_traded_on(stage: Stage) -> None:
    from tests.integration.http.rest.rest_stage import AUTHORITY

    market_id = await stage.active_market()
    await stage.as_authority(PROGRAM.emergency_pause(admin=AUTHORITY.pubkey()))
    refused = await stage.alice.post(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
    )
    assert (refused.status, refused.body["error"]) == (422, "ProtocolPaused")


async def test_a_wallet_that_cannot_pay_is_refused_before_signing(stage: Stage) -> None:
    market_id = await stage.active_market()
    refused = await stage.poor.post(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
    )
    assert refused.status == 422
    assert refused.body["message"] == "A wallet holds fewer lamports than this needs."


async def test_a_purchase_names_either_a_cost_or_shares(stage: Stage) -> None:
    for amounts in ({}, {"target_cost": SOL, "shares": SOL}):
        refused = await stage.alice.post(
            "/api/trades/buy", {"market_id": "ab" * 32, "outcome": True, **amounts}
        )
        assert refused.body["details"] == [
            {"field": "target_cost", "message": "or else shares has to be given, and not both"}
        ]
    malformed = await stage.alice.post("/api/trades/sell", {"marketId": "x", "outcome": "YES", "shares": 0})
    assert [problem["field"] for problem in malformed.body["details"]] == ["market_id", "outcome", "shares"]


async def test_every_account_equals_what_the_api_shows_after_a_run_of_trades(stage: Stage) -> None:
    market_id = await stage.active_market()
    for caller, path, order in [
        (stage.alice, "buy", {"outcome": True, "target_cost": 3 * SOL}),
        (stage.bob, "buy", {"outcome": False, "target_cost": 7 * SOL}),
        (stage.alice, "buy", {"outcome": False, "shares": 2 * SOL}),
        (stage.bob, "sell", {"outcome": False, "shares": 4 * SOL}),
        (stage.alice, "sell", {"outcome": True, "shares": SOL}),
    ]:
        landed = await caller.carry_out(f"/api/trades/{path}", {"market_id": market_id, **order})
        assert landed.status == 200, landed.body

    shown = (await stage.api.anybody.get(f"/api/markets/{market_id}")).body
    account = await stage.market_account(market_id)
    for name in ("shares_yes", "shares_no", "current_liquidity", "total_volume", "b_parameter"):
        assert shown[name] == str(getattr(account, name)), name
    for wallet, caller in ((ALICE, stage.alice), (BOB, stage.bob)):
        (listed,) = (await caller.get(f"/api/users/{wallet.pubkey()}/positions")).body
        position = await stage.position_account(market_id, wallet)
        for name in ("shares_yes", "shares_no", "total_invested"):
            assert listed[name] == str(getattr(position, name)), name
        assert listed["trades_count"] == position.trades_count
