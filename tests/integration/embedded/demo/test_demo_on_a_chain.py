"""The demonstration's faucet and clock on a real localnet, and its report where there is no system at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from solders.keypair import Keypair

from zmartd.chain.program_accounts import ProtocolNotInitialized, read_config
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.demo.audit import read_program
from zmartd.embedded.demo.localnet_client import ChainRefused, LocalnetClient
from zmartd.embedded.demo.polling import wait_for
from zmartd.embedded.demo.report import Audit, Report
from zmartd.embedded.demo.scenario import PROGRAM_ID, run_demo
from zmartd.embedded.localnet import LocalnetSettings, running
from zmartd.embedded.stack import Stack

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
async def rpc_url(tmp_path: Path) -> AsyncIterator[str]:
    settings = LocalnetSettings(tmp_path / "chain", rpc_port=0, slot_milliseconds=20)
    async with running(settings) as endpoints:
        yield endpoints.rpc_url


@pytest.fixture
async def chain(rpc_url: str) -> AsyncIterator[LocalnetClient]:
    async with ClientSession() as session:
        yield LocalnetClient(session, rpc_url)


async def test_wallets_are_funded_when_the_call_returns(chain: LocalnetClient) -> None:
    addresses = [str(Keypair().pubkey()), str(Keypair().pubkey())]
    await chain.fund(addresses, 5_000_000_000)
    assert await chain.balances(addresses) == [5_000_000_000, 5_000_000_000]
    await chain.fund(addresses[:1], 1_000_000_000)
    assert await chain.balances(addresses) == [6_000_000_000, 5_000_000_000]
    assert await chain.balances([str(Keypair().pubkey())]) == [0]


async def test_an_account_s_rent_is_what_the_chain_says(chain: LocalnetClient) -> None:
    assert await chain.rent_lamports(488) == (128 + 488) * 6_960


async def test_the_clock_moves_forward_and_not_back(chain: LocalnetClient, rpc_url: str) -> None:
    async with Rpc(rpc_url, clock=SystemClock()) as rpc:
        now = (await rpc.chain_time()).unix_timestamp
        await chain.travel(now + 259_500)

        async def seen() -> bool | None:
            return (await rpc.chain_time()).unix_timestamp >= now + 259_500 or None

        assert await wait_for(seen, "nobody saw the clock move")
        with pytest.raises(ChainRefused, match="surfnet_timeTravel"):
            await chain.travel(now)


async def test_a_chain_without_the_program_has_no_configuration_and_no_markets(rpc_url: str) -> None:
    async with Rpc(rpc_url, clock=SystemClock()) as rpc:
        with pytest.raises(ProtocolNotInitialized):
            await read_config(rpc, PROGRAM_ID)
        program = await read_program(rpc, PROGRAM_ID)
        assert (dict(program.markets), dict(program.positions)) == ({}, {})


async def test_where_there_is_no_system_the_report_says_so(tmp_path: Path) -> None:
    nothing = Stack(
        api=NOWHERE,
        ws="ws://127.0.0.1:9/ws",
        operator=NOWHERE,
        rpc=NOWHERE,
        authority=tmp_path / "authority.json",
        configuration=tmp_path / "zmartd.toml",
    )
    result = await run_demo(nothing, Report(SystemClock()))
    assert result.ok is False
    assert [(step.step, step.ok) for step in result.steps] == [("the demonstration", False)]
    assert "127.0.0.1:9" in str(result.steps[0].detail)
    assert result.audit == Audit(0, 0, 0)
