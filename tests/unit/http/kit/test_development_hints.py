"""On a development chain people go on at once, and are told why the program does not."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.integration.http.served import Served
from zmartd.chain.failures import ProgramRefused, failure_named
from zmartd.chain.idl import default_idl
from zmartd.clock import SystemClock
from zmartd.http.kit.development_chain import DEVELOPMENT_CHAIN, DevelopmentChain
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import Pipeline

CHAIN = DevelopmentChain("http://127.0.0.1:8899")


async def refuse(request: web.Request) -> web.Response:
    raise ProgramRefused(failure_named(request.match_info["name"], default_idl()))


async def message(name: str, chain: DevelopmentChain | None) -> str:
    clock, app = SystemClock(), web.Application()
    app[DEVELOPMENT_CHAIN] = chain
    app.router.add_get("/{name}", Pipeline(clock, AccessLog(clock)).wrap(refuse))
    async with TestClient(Served(app)) as client:
        response = await client.get(f"/{name}")
        assert response.status == 422
        return str((await response.json())["message"])


@pytest.mark.parametrize("name", ["InvalidTimestamp", "DisputePeriodEnded"])
async def test_a_refusal_within_the_second_of_the_step_before_says_to_travel(name: str) -> None:
    said = await message(name, CHAIN)
    assert ". The program wants a later second than that of the step before: " in said
    assert "`zmartd travel 1s`" in said
    assert "travel" not in await message(name, None)


async def test_other_refusals_say_nothing_of_it() -> None:
    assert "travel" not in await message("SlippageExceeded", CHAIN)
