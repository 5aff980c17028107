"""What a run of the vote aggregator holds in memory while it counts the votes of one market."""

from __future__ import annotations

import gc
import hashlib
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec
from asyncpg import Connection
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bench.figures import Figure
from bench.task_approvals import SOL, TASK, propose
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, Secret
from zmartd.core import Core, open_core
from zmartd.embedded.chain import PROGRAM_ID, EmbeddedChain, chain_settings
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.program_setup import initialize_program
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.store.postgres.migrations import migrate
from zmartd.task_settings import TaskSettings, VoteAggregatorSettings

COUNTS: Final = (10_000, 100_000, 1_000_000)
MIN_VOTES: Final = 10
REQUESTS: Final = 100_000
_SETTINGS: Final = VoteAggregatorSettings(requests_per_run=REQUESTS, time_limit_seconds=7_200)


async def measure(directory: Path, most: int) -> list[Figure]:
    """The most memory that a run takes beside what the daemon has before it, for so many votes and fewer.

    The node is asked about every voter, in one run.
    """
    authority, creator = Keypair(), Keypair()
    chain = chain_settings(directory / "tick-chain", 0)
    genesis = {str(rich.pubkey()): 10**6 * SOL for rich in (authority, creator)}
    async with (
        EmbeddedPostgres(directory / "tick-postgres") as postgres,
        EmbeddedValkey(directory / "tick-valkey") as valkey,
        EmbeddedChain(msgspec.structs.replace(chain, genesis_accounts=genesis)) as running,
    ):
        await migrate(postgres.dsn)
        rpc_url = running.endpoints.rpc_url
        program_id = Pubkey.from_string(PROGRAM_ID)
        await initialize_program(rpc_url, program_id, authority, authority.pubkey())
        settings = config.Settings(
            database=config.DatabaseSettings(url=PostgresUrl(postgres.dsn), statement_timeout_seconds=60),
            redis=config.RedisSettings(url=RedisUrl(valkey.url)),
            solana=config.SolanaSettings(
                rpc_url=RpcUrl(rpc_url),
                cluster="localnet",
                program_id=PROGRAM_ID,
                authority_secret_key=Secret(str(authority)),
            ),
            voting=config.VotingSettings(min_proposal_votes=MIN_VOTES),
            tasks=TaskSettings(vote_aggregator=_SETTINGS),
        )
        async with open_core(settings, SystemClock()) as core:
            return [await _of(core, creator, votes) for votes in COUNTS if votes <= most]


async def _of(core: Core, creator: Keypair, votes: int) -> Figure:
    market_id = await propose(core, creator, secrets.token_bytes(32))
    async with core.database.service() as connection:
        await _fill(connection, market_id, votes)
    gc.collect()
    _forget_peak()
    before, began_at = _kilobytes("VmRSS"), time.monotonic()
    report = await core.scheduler.run_once(TASK)
    seconds, peak = time.monotonic() - began_at, _kilobytes("VmHWM")
    async with core.database.service() as connection:
        # None counts, so the votes are open again.
        left = await connection.fetchval("select count(*) from vote_tallies")
        await connection.execute("update markets set chain_confirmed = false where id = $1", market_id)
    if report.failure or left or not all(one.ok for one in report.actions):
        raise RuntimeError(f"the votes were not counted: {report}")
    return Figure(
        f"a run that counts {votes} votes on one market: memory", (peak - before) / 1024, "MB",
        note=f"in {seconds:.0f} s; the node is asked about every voter",
    )  # fmt: skip


async def _fill(connection: Connection, market_id: str, votes: int) -> None:
    await connection.execute("reset role")
    await connection.execute("set local statement_timeout = '600s'")
    await connection.execute("set local session_replication_role = replica")
    # Of wallets that have nothing: the node is asked about each of them.
    await connection.copy_records_to_table(
        "proposal_votes",
        records=((market_id, str(_wallet(number)), number > 0) for number in range(votes)),
        columns=["market_id", "user_wallet", "vote"],
        timeout=600,
    )
    await connection.execute("analyze proposal_votes")


def _wallet(number: int) -> Pubkey:
    return Pubkey(hashlib.sha256(number.to_bytes(8, "big")).digest())


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _kilobytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"the system does not say {name}")
