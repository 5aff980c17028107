"""The rules of the game, as the chain and the settings have them."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.chain.chain_nodes import node_before, refused
from tests.integration.http.rest.rest_api import PROGRAM, Api, running_api
from tests.integration.http.rest.rest_stage import AUTHORITY, TREASURY, Stage, bare_stage
from zmartd.http.response_cache.cache import MAX_AGE_SECONDS
from zmartd.store.postgres.database import Database

PATH = "/api/protocol"


async def test_the_rules_are_the_chain_s_and_the_settings(stage: Stage) -> None:
    rules = (await stage.api.anybody.get(PATH)).body
    chain_time = (await stage.api.rpc.chain_time()).unix_timestamp
    assert 0 <= chain_time - datetime.fromisoformat(rules["chain_time"]).timestamp() < 600
    assert rules["initialized"] is True
    assert rules["program"] == {"id": str(PROGRAM.program_id), "cluster": "localnet"}
    assert rules["config"] == {
        "is_paused": False,
        "keys": {
            "admin": str(AUTHORITY.pubkey()),
            "backend_authority": str(AUTHORITY.pubkey()),
            "protocol_fee_wallet": str(TREASURY),
        },
        "fees": {"protocol_bps": 300, "resolver_bps": 200, "lp_bps": 500, "total_bps": 1_000},
        "thresholds": {"proposal_bps": 7_000, "dispute_bps": 6_000},
        "dispute_period_seconds": 259_200,
    }
    assert rules["voting"] == {
        "proposal_min_votes": 10,
        "proposal_min_balance": "0",
        "dispute_petition_bps": 1_000,
        "dispute_min_stake": "10000000",
        "dispute_quorum_bps": 1_000,
    }
    assert rules["windows"] == {
        "finalization_seconds": 259_260,
        "automatic_dispute_seconds": 194_400,
        "veto_seconds": 86_400,
    }
    limits = rules["limits"]
    assert (limits["min_trade"], limits["pending_kept_seconds"]) == ("10000", 30 * 86_400)
    first_refused = {"end_date": await stage.in_days(limits["max_life_seconds"] / 86_400 + 1)}
    assert (await stage.propose(**first_refused)).body["code"] == "invalid_request"
    last_taken = {"end_date": await stage.in_days(limits["max_life_seconds"] / 86_400)}
    assert (await stage.propose(**last_taken)).status == 201
    assert rules["request_limits"]["reads"]["address"] == {"per_minute": 10**6, "per_hour": 10**6}

    await stage.as_authority(PROGRAM.emergency_pause(admin=AUTHORITY.pubkey()))
    async with asyncio.timeout(120):
        while not (await stage.api.anybody.get(PATH)).body["config"]["is_paused"]:  # noqa: ASYNC110 - it is kept a while
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("refuses", [False, True])
async def test_no_anonymous_request_makes_the_daemon_ask_the_node_more_often(
    database: Database, redis_url: str, tmp_path: Path, refuses: bool
) -> None:
    async with (
        bare_stage(database, redis_url, tmp_path) as stage,
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        if refuses:
            node.instead("getMultipleAccounts", *[refused(-32_000)] * 100)
        began = time.monotonic()
        await api.anybody.get(PATH)
        for_one = node.requests.total()
        assert for_one > 0
        for _ in range(50):
            answer = await api.client.get(PATH, headers={"Cache-Control": "no-cache"})
            assert answer.status == (503 if refuses else 200)
        turns = 1 + (time.monotonic() - began) // MAX_AGE_SECONDS
        assert node.requests.total() <= turns * for_one


async def test_before_the_program_is_initialized_that_is_said(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with bare_stage(database, redis_url, tmp_path) as stage:
        answer = await stage.api.anybody.get(PATH)
        assert (answer.status, answer.body["initialized"], answer.body["config"]) == (200, False, None)
        assert answer.body["windows"]["finalization_seconds"] is None


async def test_without_the_chain_the_rules_are_not_guessed(api: Api) -> None:
    answer = await api.anybody.get(PATH)
    assert (answer.status, answer.body["code"]) == (503, "rpc_unavailable")
