"""`zmartd init-program` on a chain whose program has no configuration, and what the doctor says of it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from solders.keypair import Keypair

from tests.forked_commands import run_command
from tests.integration.tasks.world import ADMIN, AUTHORITY, PROGRAM_FILE, PROGRAM_ID, RICH, TREASURY
from zmartd.chain.idl import default_idl
from zmartd.chain.program_accounts import find_config
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.localnet import LocalnetSettings, running
from zmartd.private_file import write_private

Zmartd = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    """A node of a chain with the program, and nothing else."""
    settings = LocalnetSettings(
        tmp_path / "chain",
        rpc_port=0,
        slot_milliseconds=20,
        programs={str(PROGRAM_ID): PROGRAM_FILE},
        genesis_accounts={str(rich.pubkey()): 10**13 for rich in RICH},
    )
    async with running(settings) as endpoints, Rpc(endpoints.rpc_url, clock=SystemClock()) as rpc:
        yield rpc


@pytest.fixture
def zmartd(rpc: Rpc, tmp_path: Path) -> Zmartd:
    write_private(tmp_path / "authority.json", AUTHORITY.to_json())
    write_private(tmp_path / "admin.json", ADMIN.to_json())

    async def run(*arguments: str, **changed: str) -> tuple[int, str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}
        given = {
            "ZMARTD_SOLANA_RPC_URL": rpc.endpoint,
            "ZMARTD_SOLANA_CLUSTER": "localnet",
            "ZMARTD_SOLANA_AUTHORITY_KEYPAIR_PATH": str(tmp_path / "authority.json"),
            "ZMARTD_DATABASE_URL": "postgresql://127.0.0.1:1/zmartd",
            "ZMARTD_REDIS_URL": "redis://127.0.0.1:1/0",
        }
        ended = await run_command(arguments, environment | given | changed, tmp_path)
        return ended.status, ended.output, ended.errors

    return run


async def test_the_first_configuration_is_sent_once_and_the_doctor_says_when_it_is_missing(
    rpc: Rpc, zmartd: Zmartd
) -> None:
    async def found(**changed: str) -> dict[str, tuple[str, str, str]]:
        _, output, _ = await zmartd("check", "--json", **changed)
        return {one["check"]: (one["verdict"], one["detail"], one["remedy"]) for one in json.loads(output)}

    before = await found()
    assert before["program"][0] == "failed"
    assert before["program"][2] == "its admin runs `zmartd init-program`"
    assert before["authority"] == ("skipped", "not looked at, because of program", "")

    fee_wallet = str(TREASURY.pubkey())
    status, _, errors = await zmartd("init-program", "--fee-wallet", fee_wallet)
    assert (status, "there is nobody to confirm it: give --yes" in errors) == (2, True)
    assert await find_config(rpc, PROGRAM_ID) is None

    arguments = ("init-program", "--admin", "admin.json", "--fee-wallet", fee_wallet, "--yes")
    status, output, errors = await zmartd(*arguments, "--json")
    assert status == 0, errors
    assert json.loads(output)["sent"] is True
    configuration = await find_config(rpc, PROGRAM_ID)
    assert configuration is not None
    assert configuration.admin == ADMIN.pubkey()
    assert configuration.backend_authority == AUTHORITY.pubkey()
    assert configuration.protocol_fee_wallet == TREASURY.pubkey()

    status, output, _ = await zmartd(*arguments)
    assert (status, output.splitlines()[-1]) == (0, "the program has this configuration already")
    status, _, errors = await zmartd("init-program", "--fee-wallet", str(Keypair().pubkey()), "--yes")
    assert status == 1
    assert (
        f"its admin is {ADMIN.pubkey()}, not {AUTHORITY.pubkey()}; its fee wallet is {fee_wallet}" in errors
    )

    after = await found(ZMARTD_SOLANA_CLUSTER="devnet")
    well = {name for name, (verdict, _, _) in after.items() if verdict == "ok"}
    assert well >= {"rpc", "lag", "program", "fee wallet", "authority"}
    assert after["cluster"] == (
        "failed",
        "solana.cluster is devnet, and the node is of none of the public clusters",
        "set solana.cluster to localnet, or give another node in solana.rpc_url",
    )
    assert after["history"] == ("skipped", "not looked at, because of migrations", "")


async def test_the_doctor_says_whether_the_next_authority_may_sign_and_can_pay(
    zmartd: Zmartd, tmp_path: Path
) -> None:
    poor = Keypair()
    write_private(tmp_path / "poor.json", poor.to_json())
    initialize = ("init-program", "--admin", "admin.json", "--fee-wallet", str(TREASURY.pubkey()), "--yes")
    assert (await zmartd(*initialize))[0] == 0

    async def found(present: str, coming: str) -> list[tuple[str, str, str]]:
        keys = {"AUTHORITY": present, "AUTHORITY_NEXT": coming}
        given = {f"ZMARTD_SOLANA_{name}_KEYPAIR_PATH": str(tmp_path / file) for name, file in keys.items()}
        _, output, _ = await zmartd("check", "--json", **given)
        rows = [one for one in json.loads(output) if one["check"] == "authority"]
        return [(one["verdict"], one["detail"], one["remedy"]) for one in rows]

    may, waits = await found("authority.json", "admin.json")
    assert (may[0], waits) == ("ok", ("ok", f"{ADMIN.pubkey()} signs as soon as the program names it", ""))
    may, lacks = await found("authority.json", "poor.json")
    assert (may[0], lacks[0]) == ("ok", "warning")
    assert lacks[1] == f"the next authority, {poor.pubkey()}, has 0 lamports, and fees need 10000000"
    may, named = await found("poor.json", "authority.json")
    assert (may[0], named[0]) == ("ok", "warning")
    assert named[1] == f"the program has the next authority, {AUTHORITY.pubkey()}"
    ((verdict, detail, _),) = await found("poor.json", "admin.json")
    assert verdict == "failed"
    assert detail.startswith(f"the key is {poor.pubkey()} or {ADMIN.pubkey()}, but the program's ")


async def test_a_program_that_is_not_deployed_or_no_key_is_said(rpc: Rpc, zmartd: Zmartd) -> None:
    assert default_idl(str(PROGRAM_ID)).program_id == PROGRAM_ID
    arguments = ("init-program", "--fee-wallet", str(TREASURY.pubkey()), "--yes")
    status, _, errors = await zmartd(*arguments, ZMARTD_SOLANA_PROGRAM_ID=str(Keypair().pubkey()))
    assert (status, "solana.program_id: there is nothing at" in errors) == (1, True)
    status, _, errors = await zmartd(*arguments, ZMARTD_SOLANA_AUTHORITY_KEYPAIR_PATH="")
    assert (status, "there is no key to sign with: give --admin" in errors) == (2, True)
    assert await find_config(rpc, PROGRAM_ID) is None
