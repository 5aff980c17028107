"""The continuous audit of many markets: in groups, and one by one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bench.figures import Figure
from bench.task_approvals import SOL, propose_many
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl
from zmartd.core import Core, open_core
from zmartd.embedded.chain import PROGRAM_ID, EmbeddedChain, chain_settings
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.program_setup import initialize_program
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.indexer.audit.continuous import GROUPED_FROM, AuditLimits, ContinuousAudit
from zmartd.store.postgres.migrations import migrate

ALONE_SECONDS: Final = 20.0
"""How long markets are compared one by one."""
NEVER: Final = 10**9
_AGE = "update market_audits set audited_at = '-infinity' where address <> $1"


async def measure(directory: Path, markets: int) -> list[Figure]:
    """Markets compared per second, of so many that nothing differs of, with the pauses that the audit makes.

    The chain is in a process of its own. Nobody holds a position in these markets.
    """
    authority, creator = Keypair(), Keypair()
    genesis = {str(rich.pubkey()): 10**6 * SOL for rich in (authority, creator)}
    chain = chain_settings(directory / "chain", 0)
    async with (
        EmbeddedPostgres(directory / "postgres") as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
        EmbeddedChain(msgspec.structs.replace(chain, genesis_accounts=genesis)) as running,
    ):
        await migrate(postgres.dsn)
        rpc_url = running.endpoints.rpc_url
        await initialize_program(rpc_url, Pubkey.from_string(PROGRAM_ID), authority, authority.pubkey())
        settings = config.Settings(
            database=config.DatabaseSettings(url=PostgresUrl(postgres.dsn)),
            redis=config.RedisSettings(url=RedisUrl(valkey.url)),
            solana=config.SolanaSettings(rpc_url=RpcUrl(rpc_url), cluster="localnet", program_id=PROGRAM_ID),
        )
        async with open_core(settings, SystemClock()) as core:
            await propose_many(core, creator, markets)
            together = await _compared_per_second(core, 600.0)
            async with core.database.service() as connection:
                await connection.execute(_AGE, str(core.program.pdas.global_config()))
            alone = await _compared_per_second(core, ALONE_SECONDS, grouped_from=NEVER)
    return [
        Figure(
            f"audit of {markets} markets, in groups", together, "markets/s", alone, None,
            f"{together * 3_600:,.0f} within an hour; floor: one by one",
        )
    ]  # fmt: skip


async def _compared_per_second(core: Core, pass_seconds: float, grouped_from: int = GROUPED_FROM) -> float:
    limits = AuditLimits(accounts_per_second=NEVER, pass_seconds=pass_seconds, everything_seconds=3_600)
    program_id = core.program.program_id
    audit = ContinuousAudit(
        core.database, core.rpc, program_id, limits, core.clock, grouped_from=grouped_from
    )
    began_at = time.monotonic()
    report = await audit.run()
    seconds = time.monotonic() - began_at
    if report.found:
        raise RuntimeError(f"{len(report.found)} markets differ: {report.found[0]}")
    return report.compared / seconds
