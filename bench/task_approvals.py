"""Approvals of proposals by the vote aggregator: several in a transaction, and one by one."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bench.figures import Figure
from zmartd import config
from zmartd.chain.assemble import sign
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, Secret
from zmartd.core import Core, open_core
from zmartd.embedded.chain import PROGRAM_ID, EmbeddedChain, chain_settings
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.program_setup import initialize_program
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.market.ids import cid_v0
from zmartd.store.postgres.migrations import migrate

TASK: Final = "vote_aggregator"
AT_ONCE: Final = 32
SOL: Final = 10**9
_VOTES: Final = """
insert into proposal_votes (market_id, user_wallet, vote)
select unnest($1::text[]), $2, true
"""
_TRANSACTIONS: Final = """
select count(distinct signature) from transaction_intents where market_id = any($1::text[])
"""


class Approved(msgspec.Struct, frozen=True):
    """What a run did."""

    approvals: int
    transactions: int
    seconds: float
    lamports: int


async def measure(directory: Path, approvals: int) -> list[Figure]:
    """Approvals per second and lamports of each, with as many markets in each of two runs.

    The chain has slots of 400 ms in a process of its own, and the daemon waits until each transaction is
    confirmed and indexed.
    """
    authority, creator = Keypair(), Keypair()
    chain = chain_settings(directory / "chain", 0)
    genesis = {str(rich.pubkey()): 10**6 * SOL for rich in (authority, creator)}
    async with (
        EmbeddedPostgres(directory / "postgres") as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
        EmbeddedChain(msgspec.structs.replace(chain, genesis_accounts=genesis)) as running,
    ):
        await migrate(postgres.dsn)
        rpc_url = running.endpoints.rpc_url
        program_id = Pubkey.from_string(PROGRAM_ID)
        await initialize_program(rpc_url, program_id, authority, authority.pubkey())
        settings = config.Settings(
            database=config.DatabaseSettings(url=PostgresUrl(postgres.dsn)),
            redis=config.RedisSettings(url=RedisUrl(valkey.url)),
            solana=config.SolanaSettings(
                rpc_url=RpcUrl(rpc_url),
                cluster="localnet",
                program_id=PROGRAM_ID,
                authority_secret_key=Secret(str(authority)),
            ),
            voting=config.VotingSettings(min_proposal_votes=1, proposal_min_balance_lamports=0),
        )
        together = await _approved(settings, creator, authority.pubkey(), approvals)
        alone_fees = config.NetworkFeeSettings(max_markets_per_transaction=1)
        alone_settings = msgspec.structs.replace(settings, network_fees=alone_fees)
        alone = await _approved(alone_settings, creator, authority.pubkey(), approvals)
    return [
        Figure(
            f"{approvals} approvals, several in a transaction",
            together.approvals / together.seconds, "approvals/s", alone.approvals / alone.seconds, None,
            f"{together.transactions} transactions; floor: one by one, in {alone.transactions}",
        ),
        Figure(
            "  lamports of each", together.lamports / together.approvals, "lamports",
            alone.lamports / alone.approvals, None, "floor: one by one",
        ),
    ]  # fmt: skip


async def _approved(settings: config.Settings, creator: Keypair, authority: Pubkey, count: int) -> Approved:
    async with open_core(settings, SystemClock()) as core:
        market_ids = await propose_many(core, creator, count)
        async with core.database.service() as connection:
            await connection.execute(_VOTES, market_ids, str(creator.pubkey()))
        before = (await core.rpc.balances_at_once([authority]))[authority]
        began_at = time.monotonic()
        report = await core.scheduler.run_once(TASK)
        seconds = time.monotonic() - began_at
        after = (await core.rpc.balances_at_once([authority]))[authority]
        async with core.database.service_reader() as reader:
            transactions = await reader.fetchval(_TRANSACTIONS, market_ids)
    approved = sum(one.times for one in report.actions if one.ok and one.action == "approve_proposal")
    if approved != count:
        raise RuntimeError(f"{approved} of {count} proposals were approved: {report.failure or report}")
    return Approved(count, transactions, seconds, before - after)


async def propose_many(core: Core, creator: Keypair, count: int) -> Sequence[str]:
    """Propose so many markets, and index them; their ids."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with turns:
            return await propose(core, creator, secrets.token_bytes(32))

    return await asyncio.gather(*(one() for _ in range(count)))


async def propose(core: Core, creator: Keypair, raw: bytes) -> str:
    """Propose a market, and index it; its id."""
    create = core.program.create_market(
        creator=creator.pubkey(),
        market_id=raw,
        b_parameter=500 * SOL,
        initial_liquidity=SOL,
        ipfs_question_hash=cid_v0(raw),
    )
    latest = await core.rpc.latest_blockhash()
    transaction = sign([create], creator, latest.blockhash, latest.last_valid_block_height, "bench")
    await core.sender.send(transaction)
    await core.fetcher.apply_signature(transaction.signature)
    return raw.hex()
