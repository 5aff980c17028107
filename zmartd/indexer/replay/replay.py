"""Replays the program's whole history into an empty database, and compares the result with the index."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
from msgspec import Struct
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd import config
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.errors import ZmartdError
from zmartd.indexer.apply import Indexer
from zmartd.indexer.effects.configuration import configuration_corrections
from zmartd.indexer.events.incomplete import resolve_truncated
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.plausibility import Plausibility
from zmartd.indexer.rebuild.corrections import corrections_by_address
from zmartd.indexer.replay.checksums import table_checksums
from zmartd.indexer.truncation.recovery import TruncationRecovery
from zmartd.indexer.walks.backfill import Progress, backfill, no_progress
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.realtime.publisher import NoPublisher
from zmartd.store.postgres.connection import connect
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

_CONNECT_SECONDS = 10.0
_MADE_UP_FOR = """
select tx_signature from truncated_transactions where resolved_at is not null and not complete
"""
_ATTEMPTS = 3
"""How often to replay what has happened since: the chain goes on during the comparison."""


class ReplayImpossible(ZmartdError):
    """A replay needs a database of its own, and the user of database.url may not create one."""

    code = "replay_impossible"


class TableHash(Struct, frozen=True):
    """The checksums of a table in the index and in the replay."""

    table: str
    indexed: str
    replayed: str

    @property
    def ok(self) -> bool:
        return self.indexed == self.replayed


class ReplayReport(Struct, frozen=True):
    """How many transactions were replayed, and the checksums of all tables."""

    transactions: int
    tables: tuple[TableHash, ...]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.tables)


async def replay(
    database: Database,
    settings: config.DatabaseSettings,
    *,
    rpc: Rpc,
    program_id: Pubkey,
    parse: Callable[[Mapping[str, Any]], ChainTransaction],
    progress: Progress = no_progress,
) -> ReplayReport:
    """Replay everything into a temporary database and compare the `checksums` of both.

    `settings` are those of `database`; the temporary one is created on the same server. Raises
    ReplayImpossible, RpcUnavailable, DatabaseUnavailable, MigrationFailed.
    """
    empty = _empty_database(settings)
    return await replay_into(empty, database, rpc=rpc, program_id=program_id, parse=parse, progress=progress)


async def replay_into(
    empty: AbstractAsyncContextManager[Database],
    database: Database,
    *,
    rpc: Rpc,
    program_id: Pubkey,
    parse: Callable[[Mapping[str, Any]], ChainTransaction],
    progress: Progress = no_progress,
) -> ReplayReport:
    """The same into a migrated database with nothing in it. Raises RpcUnavailable, DatabaseUnavailable."""
    async with empty as replayed:
        plausibility = Plausibility(rpc.chain_time, SystemClock())
        fetcher = Fetcher(rpc, Indexer(replayed, NoPublisher(), Pdas(program_id)), parse, plausibility)
        attempt = 0
        while True:
            attempt += 1
            finalized_slot = await rpc.slot(CommitmentLevel.Finalized)
            walk = await RangeWalk(rpc, program_id).count()
            done = await backfill(replayed, fetcher, walk, progress)
            recovery = TruncationRecovery(rpc, fetcher, replayed, program_id)
            await _recover(recovery, finalized_slot)
            await _copy_corrections(database, replayed, fetcher.indexer)
            await _recover(recovery, finalized_slot)
            await fetcher.indexer.reprice_everything()
            report = ReplayReport(done.transactions, await _compare(database, replayed))
            if report.ok or attempt == _ATTEMPTS:
                return report


async def _recover(recovery: TruncationRecovery, until_slot: int) -> None:
    while (await recovery.run(until_slot)).resolved:
        pass


async def _copy_corrections(database: Database, replayed: Database, indexer: Indexer) -> None:
    """What was corrected from accounts is in no transaction: the replay takes it from the index.

    It waits no longer for the transactions that corrections made up for.
    """
    async with database.service() as connection:
        made_up_for = [row["tx_signature"] for row in await connection.fetch(_MADE_UP_FOR)]
        corrections = await corrections_by_address(connection)
        of_configuration = await configuration_corrections(connection)
    for one in of_configuration:
        await indexer.correct_configuration(one, datetime.now(UTC))
    for address, correction in corrections.items():
        await indexer.correct(correction, Pubkey.from_string(address))
    async with replayed.service() as connection:
        await resolve_truncated(connection, made_up_for)


async def _compare(database: Database, replayed: Database) -> tuple[TableHash, ...]:
    async with database.service() as connection, replayed.service() as other:
        ours, theirs = await table_checksums(connection), await table_checksums(other)
    return tuple(TableHash(table, ours[table], theirs[table]) for table in ours)


@asynccontextmanager
async def _empty_database(settings: config.DatabaseSettings) -> AsyncIterator[Database]:
    name = f"zmartd_replay_{secrets.token_hex(6)}"
    url = settings.url.reveal()
    own = config.DatabaseSettings(
        url=PostgresUrl(_url_of(url, name)),
        pool_size=2,
        statement_timeout_seconds=settings.statement_timeout_seconds,
        pooled=settings.pooled,
    )
    try:
        await _execute(url, f"create database {name} template template0")
    except asyncpg.InsufficientPrivilegeError as error:
        raise ReplayImpossible(
            "a replay needs a database of its own: ALTER ROLE <user of database.url> CREATEDB allows it"
        ) from error
    try:
        await migrate(own.url.reveal())
        database = await Database.connect(own)
        try:
            yield database
        finally:
            await database.close()
    finally:
        await _execute(url, f"drop database {name} with (force)")


def _url_of(url: str, name: str) -> str:
    """The URL of another database on the same server, with the same parameters."""
    address, mark, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{query}"


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url, timeout_seconds=_CONNECT_SECONDS)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
