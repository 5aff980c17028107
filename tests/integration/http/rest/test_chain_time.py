"""What depends on time depends on the chain's clock, also where nothing is traded and that clock is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.integration.http.rest.rest_stage import SOL, Stage

DAY = 86_400
EVIDENCE = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
PATIENT_SECONDS = 60


async def shown_when(stage: Stage, path: str, is_so: Callable[[Any], bool]) -> Any:
    """What is at `path`, once that is so: answers are kept for two seconds."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            body = (await stage.api.anybody.get(path)).body
            if is_so(body):
                return body
            await asyncio.sleep(0.05)


def step(market: Any, action: str) -> Any:
    return next(one for one in market["next"] if one["action"] == action)


async def test_markets_end_and_open_by_the_clock_of_the_chain(stage: Stage) -> None:
    pending = (await stage.propose(end_date=await stage.in_days(1))).body["market"]["id"]
    market_id = await stage.active_market(
        question="Will anybody trade in this?", end_date=await stage.in_days(1)
    )
    path, soon = f"/api/markets/{market_id}", "/api/markets?sort=ending_soon"
    assert not (await shown_when(stage, path, lambda body: body["state"] == "ACTIVE"))["ended"]
    assert (await stage.api.anybody.get(soon)).body["count"] == 1
    await stage.travel(2 * DAY)

    await shown_when(stage, path, lambda body: body["ended"])
    await shown_when(stage, f"/api/markets/{pending}", lambda body: body["ended"])
    await shown_when(stage, "/api/markets", lambda body: body["markets"][0]["ended"])
    await shown_when(stage, soon, lambda body: body["count"] == 0)
    assert not step((await stage.api.anybody.get(f"/api/markets/{pending}")).body, "create")["open"]
    order = {"market_id": market_id, "outcome": True, "target_cost": SOL}
    assert (await stage.alice.post("/api/trades/buy", order)).body["market_ended"]
    estimate = {**order, "outcome": "true"}
    assert (await stage.api.anybody.get("/api/trades/estimate", **estimate)).body["market_ended"]

    resolution = {"outcome": True, "ipfs_evidence_hash": EVIDENCE}
    assert (await stage.creator.carry_out(f"{path}/resolve", resolution)).status == 200
    market = await shown_when(stage, path, lambda body: body["state"] == "RESOLVING")
    waits = step(market, "finalize")["missing_seconds"]
    await stage.travel(60)
    await shown_when(stage, path, lambda body: step(body, "dispute")["open"])
    shown = await stage.api.client.get(path)
    await stage.travel(60)
    await shown_when(stage, path, lambda body: step(body, "finalize")["missing_seconds"] <= waits - 120)
    unchanged = await stage.api.client.get(path, headers={"If-None-Match": shown.headers["ETag"]})
    assert unchanged.status == 304
    await stage.travel(DAY)
    await shown_when(
        stage,
        path,
        lambda body: (
            step(body, "dispute")["open"] and step(body, "finalize")["missing_seconds"] <= waits - DAY
        ),
    )
    await stage.travel(3 * DAY)
    market = await shown_when(stage, path, lambda body: step(body, "finalize")["open"])
    assert not step(market, "dispute")["open"]
