import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.embedded.localnet.localnet_client import SOL, Chain, wire
from tests.integration.embedded.localnet.localnet_process import localnet_process
from zmartd.embedded.localnet import (
    Endpoints,
    LocalnetError,
    LocalnetSettings,
    WebhookTarget,
    running,
    serve,
)
from zmartd.embedded.localnet.chain.ledger import LedgerError
from zmartd.embedded.localnet.chain.runtime import RuntimePanic

NEVER_MILLISECONDS = 3_600_000


@asynccontextmanager
async def started(settings: LocalnetSettings) -> AsyncIterator[Chain]:
    async with running(settings) as endpoints, aiohttp.ClientSession() as session:
        yield Chain(endpoints, session)


@asynccontextmanager
async def started_as_a_process(directory: Path, slot_milliseconds: int) -> AsyncIterator[Chain]:
    process = localnet_process(directory, slot_milliseconds)
    async with process as endpoints, aiohttp.ClientSession() as session:
        yield Chain(endpoints, session)


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    friend = Keypair().pubkey()
    async with started_as_a_process(tmp_path, NEVER_MILLISECONDS) as chain:
        wallet = await chain.wallet()
        identity = await chain.call("getGenesisHash")
        unsent = await chain.transfer(wallet, friend, SOL)
        confirmed = await chain.send(await chain.transfer(wallet, friend, 2 * SOL))
        await chain.advance(3)
        in_the_open_slot = await chain.send(await chain.transfer(wallet, friend, 3 * SOL))
        balance = await chain.balance(wallet.pubkey())
    async with started_as_a_process(tmp_path, NEVER_MILLISECONDS) as chain:
        assert await chain.call("getGenesisHash") == identity
        assert await chain.balance(wallet.pubkey(), "confirmed") == balance
        assert await chain.balance(friend, "confirmed") == 5 * SOL
        statuses = [await chain.status(signature) for signature in (confirmed, in_the_open_slot)]
        assert [status["slot"] for status in statuses] == [2, 5]
        assert [status["confirmationStatus"] for status in statuses] == ["confirmed", "confirmed"]
        assert await chain.call("getSlot", {"commitment": "processed"}) == 6
        history = await chain.call("getSignaturesForAddress", str(friend), {"commitment": "confirmed"})
        assert [one["signature"] for one in history] == [in_the_open_slot, confirmed]
        await chain.send(unsent)  # its blockhash has outlived the process
        assert await chain.balance(friend) == 6 * SOL


async def test_killed_again_and_again_under_load_it_never_forgets(tmp_path: Path) -> None:
    friend, acknowledged = Keypair().pubkey(), 0
    wallet = Keypair()
    for _ in range(3):
        async with started_as_a_process(tmp_path, 20) as chain:
            await chain.call("requestAirdrop", str(wallet.pubkey()), SOL)
            for _ in range(20):
                acknowledged += 1
                await chain.send(await chain.transfer(wallet, friend, 900_000 + acknowledged))
    async with started_as_a_process(tmp_path, 20) as chain:
        history = await chain.call("getSignaturesForAddress", str(friend), {"commitment": "confirmed"})
        assert len(history) == acknowledged == 60
        assert await chain.balance(friend) == sum(900_000 + number for number in range(1, 61))
        assert [one["slot"] for one in history] == sorted((one["slot"] for one in history), reverse=True)


async def test_a_restart_keeps_what_was_overwritten_and_travelled(still: LocalnetSettings) -> None:
    address, owner = str(Pubkey.new_unique()), str(Pubkey.new_unique())
    async with started(still) as chain:
        update = {"lamports": 7, "data": "c0ffee", "owner": owner, "rentEpoch": 2**64 - 1}
        await chain.call("surfnet_setAccount", address, update)
        slot = await chain.call("getSlot", {"commitment": "processed"})
        now = await chain.call("getBlockTime", slot)
        travelled = await chain.call("surfnet_timeTravel", {"absoluteTimestamp": (now + 10**6) * 1000})
        there = await chain.call("getBlockTime", travelled["absoluteSlot"])
    async with started(still) as chain:
        slot = await chain.call("getSlot", {"commitment": "processed"})
        assert slot == travelled["absoluteSlot"]
        assert there <= await chain.call("getBlockTime", slot) <= there + 60
        config = {"commitment": "confirmed", "encoding": "base64"}
        value = (await chain.call("getAccountInfo", address, config))["value"]
        assert (value["lamports"], value["owner"], value["rentEpoch"]) == (7, owner, 2**64 - 1)
        assert value["data"] == ["wP/u", "base64"]
        assert len(await chain.call("getProgramAccounts", owner, config)) == 1


async def test_an_emptied_account_stays_gone(still: LocalnetSettings) -> None:
    async with started(still) as chain:
        wallet = await chain.wallet(SOL)
        await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL - 5_000))
    async with started(still) as chain:
        found = await chain.call("getAccountInfo", str(wallet.pubkey()), {"commitment": "processed"})
        assert found["value"] is None


async def test_genesis_accounts_are_given_money_once(still: LocalnetSettings) -> None:
    rich = Keypair()
    settings = msgspec.structs.replace(still, genesis_accounts={str(rich.pubkey()): 5 * SOL})
    async with started(settings) as chain:
        assert await chain.balance(rich.pubkey(), "finalized") == 5 * SOL
        await chain.send(await chain.transfer(rich, Keypair().pubkey(), SOL))
    async with started(settings) as chain:
        assert await chain.balance(rich.pubkey()) == 4 * SOL - 5_000


async def test_two_localnets_cannot_share_a_directory(still: LocalnetSettings) -> None:
    async with started(still):
        with pytest.raises(LedgerError, match="another localnet"):
            async with started(still):
                pass


async def test_a_localnet_that_is_just_stopping_is_waited_for(still: LocalnetSettings) -> None:
    async with AsyncExitStack() as old:
        endpoints = await old.enter_async_context(running(still))
        again = msgspec.structs.replace(still, rpc_port=endpoints.rpc_port)
        starting = asyncio.create_task(runs_at(again))
        await asyncio.wait((starting,), timeout=0.2)
        assert not starting.done()
    assert await starting == endpoints


async def runs_at(settings: LocalnetSettings) -> Endpoints:
    async with running(settings) as endpoints:
        return endpoints


async def test_a_taken_port_is_named(still: LocalnetSettings, tmp_path: Path) -> None:
    async with started(still) as chain:
        port = chain.endpoints.rpc_port
        second = LocalnetSettings(tmp_path / "second", rpc_port=port)
        with pytest.raises(LocalnetError, match=f"127.0.0.1:{port}"):
            async with started(second):
                pass


async def test_any_port_is_none_of_those_that_outgoing_connections_take(still: LocalnetSettings) -> None:
    """Thousands of connections take every other one of them, so that no two are free beside each other."""
    async with started(still) as chain:
        assert chain.endpoints.ws_port == chain.endpoints.rpc_port + 1 < 32_768


async def test_a_damaged_ledger_is_refused_and_left_alone(still: LocalnetSettings) -> None:
    file = still.data_directory / "ledger.sqlite3"
    still.data_directory.mkdir()
    file.write_bytes(b"something else entirely" * 100)
    with pytest.raises(LedgerError, match="not a ledger"):
        async with started(still):
            pass
    assert file.read_bytes().startswith(b"something else")


async def test_a_ledger_of_the_future_is_refused(still: LocalnetSettings) -> None:
    still.data_directory.mkdir()
    connection = sqlite3.connect(still.data_directory / "ledger.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="format 99"):
        async with started(still):
            pass


async def test_a_program_that_is_not_there_is_named(still: LocalnetSettings, tmp_path: Path) -> None:
    missing = {str(Pubkey.new_unique()): tmp_path / "missing.so"}
    with pytest.raises(LocalnetError, match=r"missing\.so"):
        async with started(msgspec.structs.replace(still, programs=missing)):
            pass


async def test_a_program_that_is_none_is_refused(still: LocalnetSettings, tmp_path: Path) -> None:
    junk = tmp_path / "junk.so"
    junk.write_bytes(b"no program")
    with pytest.raises(RuntimePanic, match=r"junk\.so is not a program"):
        async with started(msgspec.structs.replace(still, programs={str(Pubkey.new_unique()): junk})):
            pass


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"programs": {"nobody": Path("x.so")}}, "base58"),
        ({"genesis_accounts": {"nobody": 1}}, "base58"),
        ({"webhooks": (WebhookTarget("http://127.0.0.1:1", ("nobody",)),)}, "webhook"),
        ({"slot_milliseconds": 0}, "slot_milliseconds"),
        ({"rpc_port": 65_535}, "rpc_port"),
    ],
)
async def test_a_wrong_setting_is_named(
    still: LocalnetSettings, wrong: dict[str, object], named: str
) -> None:
    with pytest.raises(LocalnetError, match=named):
        async with started(msgspec.structs.replace(still, **wrong)):
            pass


async def test_a_ledger_that_cannot_grow_ends_the_process_and_keeps_what_was_answered(tmp_path: Path) -> None:
    friend = Keypair().pubkey()
    process = localnet_process(tmp_path, 50, ledger_bytes_limit=1_500_000)
    async with process as endpoints, aiohttp.ClientSession() as session:
        chain = Chain(endpoints, session)
        wallet = await chain.wallet(1_000_000 * SOL)
        acknowledged = await transfer_until_refused(chain, wallet, friend)
        await until_gone(chain)
    async with started_as_a_process(tmp_path, NEVER_MILLISECONDS) as chain:
        config = {"commitment": "confirmed", "limit": 1}
        newest = await chain.call("getSignaturesForAddress", str(friend), config)
        assert [one["signature"] for one in newest] == acknowledged[-1:]
        assert await chain.balance(friend) == sum(SOL + number for number in range(len(acknowledged)))


async def transfer_until_refused(chain: Chain, wallet: Keypair, friend: Pubkey) -> list[str]:
    """The signatures of the transfers that were acknowledged: of SOL, SOL + 1, SOL + 2, ... lamports."""
    acknowledged: list[str] = []
    while True:
        try:
            transaction = await chain.transfer(wallet, friend, SOL + len(acknowledged))
            answer = await chain.answer("sendTransaction", wire(transaction), {"encoding": "base64"})
        except aiohttp.ClientError:  # a slot could not be completed, and that ended it
            return acknowledged
        if "error" in answer:
            assert answer["error"] == {"code": -32603, "message": "Internal error"}
            return acknowledged
        acknowledged.append(answer["result"])


async def until_gone(chain: Chain) -> None:
    """Wait until the localnet does not answer."""
    async with asyncio.timeout(120):
        while True:
            try:
                await chain.answer("getHealth")
            except aiohttp.ClientError:
                return


async def test_serving_ends_when_it_is_told_to(still: LocalnetSettings) -> None:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(still, ready=ready.set_result, stop=stop))
    async with asyncio.timeout(120):
        endpoints: Endpoints = await ready
        async with aiohttp.ClientSession() as session, session.ws_connect(endpoints.ws_url) as socket:
            stop.set()
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        await serving
