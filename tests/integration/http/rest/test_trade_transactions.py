from __future__ import annotations

from tests.integration.http.rest.rest_api import PROGRAM
from tests.integration.http.rest.rest_stage import ALICE, BOB, POOR, SOL, TREASURY, Stage
from zmartd.market.lmsr import SCALE


async def test_a_buy_costs_exactly_what_was_quoted(stage: Stage) -> None:
    market_id = await stage.active_market()
    treasury = await stage.lamports(TREASURY)
    bought = await stage.alice.post(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
    )
    assert bought.status == 200
    quote = bought.body["quote"]
    assert int(quote["net"]) <= SOL
    assert int(quote["net"]) == int(quote["gross"]) + int(quote["fee"]["total"])
    assert bought.body["simulated"]["success"] is True

    landed = await stage.alice.relay(stage.alice.sign(bought.body["transaction"]))

    assert landed.status == 200
    (event,) = landed.body["events"]
    assert event["name"] == "SharesBought"
    assert (event["shares"], event["cost"]) == (quote["shares"], quote["net"])
    assert int(event["new_price_yes"]) / SCALE == quote["price_after"]
    position = await stage.position_account(market_id, ALICE)
    assert (position.shares_yes, position.total_invested) == (int(quote["shares"]), int(quote["net"]))
    assert await stage.lamports(TREASURY) - treasury == int(quote["fee"]["protocol"])
    shown = (await stage.api.anybody.get(f"/api/markets/{market_id}")).body
    assert (shown["price_yes"], shown["total_volume"]) == (quote["price_after"], quote["net"])


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
        quote["net"],
    )
    assert int(quote["net"]) == int(quote["gross"]) - int(quote["fee"]["total"])
    assert quote["price_before"] > 0.5
    assert quote["price_after"] == (SCALE - int(event["new_price_yes"])) / SCALE
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
    details = dearer.body["details"]
    assert (details["limit"], details["max_cost"]) == ("max_cost", str(target))
    assert int(details["offered"]) > target


async def test_nobody_pays_more_than_the_target_when_the_price_moves_before_landing(stage: Stage) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    slow = await stage.alice.post("/api/trades/buy", order)
    await stage.bob.carry_out("/api/trades/buy", {**order, "target_cost": 50 * SOL})
    landed = await stage.alice.relay(stage.alice.sign(slow.body["transaction"]))
    (event,) = landed.body["events"]
    assert int(event["cost"]) <= SOL
    assert int(event["shares"]) < int(slow.body["quote"]["shares"])


async def test_a_trade_that_would_fail_is_refused_with_the_program_s_error(stage: Stage) -> None:
    market_id = await stage.active_market()
    await stage.alice.carry_out(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": 2 * SOL}
    )
    for path, order, code, number in (
        ("buy", {"outcome": True, "target_cost": 9_999}, "trade_too_small", 6018),
        ("sell", {"outcome": True, "shares": 1}, "trade_too_small", 6018),
        ("sell", {"outcome": True, "shares": SOL // 20, "min_proceeds": SOL}, "slippage_exceeded", 6015),
        ("sell", {"outcome": True, "shares": 200 * SOL}, "insufficient_shares", 6014),
        ("sell", {"outcome": False, "shares": SOL // 20}, "insufficient_shares", 6014),
    ):
        refused = await stage.alice.post(f"/api/trades/{path}", {"market_id": market_id, **order})
        assert (refused.status, refused.body["code"]) == (422, code)
        assert refused.body["details"]["program_error"] == number
        assert refused.body["message"]


async def test_who_sells_more_than_there_is_is_told_how_many_there_are(stage: Stage) -> None:
    """Before anything is said of the price, or of a position that was never opened."""
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True}
    await stage.alice.carry_out("/api/trades/buy", {**order, "target_cost": SOL})
    held = (await stage.position_account(market_id, ALICE)).shares_yes
    for caller, outcome, shares, there in (
        (stage.alice, True, held + 1, held),
        (stage.alice, True, 2**63, held),
        (stage.alice, False, 1, 0),
        (stage.bob, True, 1, 0),
    ):
        refused = await caller.post("/api/trades/sell", {**order, "outcome": outcome, "shares": shares})
        assert (refused.status, refused.body["code"]) == (422, "insufficient_shares")
        assert refused.body["details"] == {
            "program_error": 6014,
            "shares": str(shares),
            "shares_held": str(there),
        }
        assert f"holds {there} share units of {'YES' if outcome else 'NO'}" in refused.body["message"]
    assert (await stage.alice.carry_out("/api/trades/sell", {**order, "shares": held})).status == 200


async def test_a_trade_that_is_too_large_is_told_the_largest_here(stage: Stage) -> None:
    market_id = await stage.active_market()
    dearer = {"market_id": market_id, "outcome": True, "target_cost": 5 * SOL}
    await stage.alice.carry_out("/api/trades/buy", dearer)
    for path, order, amount in (
        ("/api/trades/buy", {"target_cost": 10**16}, "target_cost"),
        ("/api/trades/buy", {"shares": 10**16}, "shares"),
        ("/api/trades/buy", {"shares": 2**64 - 1}, "shares"),
    ):
        refused = await stage.alice.post(path, {"market_id": market_id, "outcome": True, **order})
        assert (refused.status, refused.body["code"]) == (422, "trade_too_large")
        largest = refused.body["details"]["largest_trade_here"]
        assert (
            f"{largest} {'lamports' if amount == 'target_cost' else 'share units'}" in refused.body["message"]
        )
        assert "xponent" not in str(refused.body)
        taken = await stage.alice.post(path, {"market_id": market_id, "outcome": True, amount: largest})
        assert taken.body["code"] == "insufficient_funds", "only the money is missing"


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
        assert (refused.status, refused.body["code"]) == (409, "wrong_state")


async def test_a_paused_protocol_is_not_traded_on(stage: Stage) -> None:
    from tests.integration.http.rest.rest_stage import AUTHORITY

    market_id = await stage.active_market()
    await stage.as_authority(PROGRAM.emergency_pause(admin=AUTHORITY.pubkey()))
    refused = await stage.alice.post(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
    )
    assert (refused.status, refused.body["error"]) == (422, "ProtocolPaused")


async def test_a_wallet_that_cannot_pay_is_told_what_it_has_what_it_needs_and_where_to_get_it(
    stage: Stage,
) -> None:
    market_id = await stage.active_market()
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    has, rent, fee = await stage.lamports(POOR.pubkey()), 2_157_600, 5_000
    refused = await stage.poor.post("/api/trades/buy", order)
    assert (refused.status, refused.body["code"]) == (422, "insufficient_funds")
    assert refused.body["details"] == {
        "wallet": str(POOR.pubkey()),
        "has": str(has),
        "needs": str(SOL + rent + fee),
        "missing": str(SOL + rent + fee - has),
        "where_from": "`zmartd airdrop` on this development chain (or requestAirdrop of its RPC)",
    }
    assert "This needs 1.0021626 SOL and" in refused.body["message"]

    small = {**order, "target_cost": has // 3}
    assert (await stage.poor.carry_out("/api/trades/buy", small)).status == 200
    again = await stage.poor.post("/api/trades/buy", order)
    assert again.body["details"]["needs"] == str(SOL + fee), "its position is there already"

    quoted = await stage.poor.post("/api/trades/buy", small)
    await stage.pay(POOR, TREASURY, await stage.lamports(POOR.pubkey()) - has // 4)
    spent = await stage.poor.relay_quoted(quoted.body)
    assert (spent.status, spent.body["code"]) == (422, "insufficient_funds")
    assert spent.body["details"]["needs"] == str(has // 3 + fee)
    assert spent.body["details"]["has"] == str(await stage.lamports(POOR.pubkey()))


async def test_a_purchase_names_either_a_cost_or_shares(stage: Stage) -> None:
    one_of_two = ("target_cost", "or shares is required, one of the two and not both")
    for amounts, problem in (
        ({}, one_of_two),
        ({"target_cost": SOL, "shares": SOL}, one_of_two),
        (
            {"target_cost": SOL, "max_cost": SOL},
            ("max_cost", "goes with shares, not with target_cost, which is the most that is paid"),
        ),
        (
            {"shares": SOL, "min_shares": SOL + 1},
            ("min_shares", "must not be above shares, the number that is asked for"),
        ),
    ):
        refused = await stage.alice.post(
            "/api/trades/buy", {"market_id": "ab" * 32, "outcome": True, **amounts}
        )
        assert refused.status == 400
        assert refused.body["details"] == [{"field": problem[0], "message": problem[1]}]
    for slippage in (-1, 5_001, 1.5, "a lot"):
        for path in ("buy", "sell"):
            body = {"market_id": "ab" * 32, "outcome": True, "shares": SOL, "slippage_bps": slippage}
            (problem,) = (await stage.alice.post(f"/api/trades/{path}", body)).body["details"]
            assert problem["field"] == "slippage_bps"
            assert "from 0 to 5000" in problem["message"]
    malformed = await stage.alice.post("/api/trades/sell", {"marketId": "x", "outcome": "YES", "shares": 0})
    assert [problem["field"] for problem in malformed.body["details"]] == ["marketId", "outcome", "shares"]


async def test_without_slippage_a_purchase_of_shares_says_what_rounding_leaves(stage: Stage) -> None:
    order = {"market_id": await stage.active_market(), "outcome": True, "slippage_bps": 0}
    exact = (await stage.alice.post("/api/trades/buy", {**order, "shares": SOL})).body
    assert int(exact["quote"]["shares"]) == SOL + int(exact["room_shares"])
    assert exact["target_cost"] == exact["max_cost"]
    one_less = {**order, "target_cost": int(exact["target_cost"]) - 1}
    fewer = (await stage.alice.post("/api/trades/buy", one_less)).body
    assert int(fewer["quote"]["shares"]) < SOL
    assert fewer["room_shares"] == "0"
    roomy = (await stage.alice.post("/api/trades/buy", {**order, "shares": SOL, "slippage_bps": 100})).body
    assert int(roomy["room_shares"]) > int(exact["room_shares"])


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
