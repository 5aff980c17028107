"""Postgres: whether it can be used, as whom, through what, and how it is set."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from zmartd.config import Pooled
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.store import server_settings
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import connected, pending
from zmartd.store.postgres.pooling import Pooling, find_pooling
from zmartd.store.postgres.rights import lacking, other_owners

OLDEST_VERSION = 15
"""The first that knows views with the rights of their caller, of which migration 0026 makes one."""

_URL = ("database.url",)
_WAYS = {
    Pooling.NONE: "connected directly",
    Pooling.SESSION: "through a session pooler, where each connection takes up one to Postgres",
    Pooling.TRANSACTION: "through a transaction pooler",
}
_RESTART = "then restart Postgres"


async def _database(patient: Patient) -> Sequence[Outcome]:
    url = patient.settings.database.url.reveal()
    patient.login = await patient.resources.enter_async_context(connected(url))
    login = await patient.login.fetchval("select current_user")
    version = await patient.login.fetchval("select current_setting('server_version')")
    return [ok(f"Postgres {version} answers {login}")]


async def _rights(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        lacks, owners = await lacking(connection), await other_owners(connection)
    # Daemons need no more where another login migrates.
    serious = [lack for lack in lacks if not (owners and lack.is_for_migrations)]
    another = f", or give the daemon's login in database.url: the tables belong to {owners}" if owners else ""
    if serious:
        return [
            failed(lack.cause, f"as an administrator of this database: {lack.sql}{another}")
            for lack in serious
        ]
    migrates = f"not migrate, which {owners} does" if owners else "migrate"
    return [ok(f"the login may act as anon, authenticated and service_role, and {migrates}")]


async def _migrations(patient: Patient) -> Sequence[Outcome]:
    url = patient.settings.database.url.reveal()
    try:
        waiting = await pending(url)
    except asyncpg.InsufficientPrivilegeError:
        return [Outcome("skipped", "not looked at, because of rights")]
    if waiting:
        named = waiting[0].name if len(waiting) == 1 else f"{waiting[0].name} to {waiting[-1].name}"
        return [failed(f"{len(waiting)} migrations are not applied: {named}", "run `zmartd migrate`")]
    patient.database = await Database.connect(patient.settings.database)
    patient.resources.push_async_callback(patient.database.close)
    return [ok("all are applied")]


async def _pooler(patient: Patient) -> Sequence[Outcome]:
    settings = patient.settings.database
    pooling = await find_pooling(settings.url.reveal())
    if pooling is Pooling.TRANSACTION and settings.pooled == "no":
        return [
            failed(
                "database.pooled = no, and a transaction pooler is in between",
                "set database.pooled to auto, or let database.url lead to Postgres itself",
            )
        ]
    return [ok(f"{_WAYS[pooling]}{_consequence(pooling, settings.pooled)}")]


def _consequence(pooling: Pooling, pooled: Pooled) -> str:
    """What it means that nothing may be left on a connection, where this is so."""
    if pooled == "no" or (pooled == "auto" and pooling is Pooling.NONE):
        return ""
    remedy = "" if pooling is Pooling.TRANSACTION else ", which database.pooled = no spares"
    return f": each transaction brings its settings along, and a read takes two round trips{remedy}"


async def _server(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        server = await server_settings.read(connection)
    found = []
    if server.version < OLDEST_VERSION * 10_000:
        found.append(
            failed(
                f"Postgres {server.version // 10_000} is too old",
                f"upgrade it to {OLDEST_VERSION} or newer, for example with pg_upgradecluster",
            )
        )
    if server.encoding != "UTF8":
        found.append(
            failed(
                f"the database's encoding is {server.encoding}, in which not every text can be stored",
                "create it anew: `createdb --encoding UTF8 --template template0 NAME`",
            )
        )
    if server.is_standby:
        found.append(failed("it is a standby, which takes no writes", "let database.url lead to the primary"))
    elif server.is_read_only:
        found.append(
            failed(
                "transactions are read-only here, as hosts make them when the disk is full",
                "make room on its disk, then ALTER DATABASE … RESET default_transaction_read_only;",
            )
        )
    for name, lost in (
        ("fsync", "the database is damaged"),
        ("full_page_writes", "the database can be damaged"),
        ("synchronous_commit", "deliveries and messages that were acknowledged or told are lost"),
    ):
        if server.values[name] == "off":
            found.append(
                warning(
                    f"{name} is off: {lost} when the machine stops",
                    f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
                )
            )
    for name, lost in (
        ("autovacuum", "tables grow without end"),
        ("track_counts", "autovacuum does nothing"),
    ):
        if server.values[name] == "off":
            found.append(
                warning(f"{name} is off: {lost}", f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();")
            )
    wanted, free = patient.settings.database.pool_size, server.max_connections - server.reserved_connections
    if wanted > free:
        found.append(
            failed(
                f"database.pool_size is {wanted}, and Postgres lets in {free} connections",
                f"lower database.pool_size, or ALTER SYSTEM SET max_connections = {2 * wanted}; {_RESTART}",
            )
        )
    elif server.connections + wanted > free:
        found.append(
            warning(
                f"{server.connections} of {free} connections are taken, and this daemon opens up to {wanted}",
                f"lower database.pool_size, or ALTER SYSTEM SET max_connections = {2 * free}; {_RESTART}",
            )
        )
    return found or [ok(f"{server.connections} of {free} connections are taken, {wanted} may be added")]


CHECKS = (
    Check(
        name="database",
        look=_database,
        about="Postgres answers, and takes the user and the password",
        uses=_URL,
        remedy="`zmartd config` shows database.url without its password; `psql` with the same URL tries it. "
        "Its sslrootcert is the file of the certificate by which the server's is verified",
    ),
    Check(
        name="rights",
        look=_rights,
        about="what the login needs before the first migration: zmartd's roles (which are Supabase's), and "
        "the "
        "rights to act as them and to create tables; each with the SQL for an administrator",
        uses=_URL,
        needs=("database",),
    ),
    Check(
        name="migrations",
        look=_migrations,
        about="migrations that are not applied, or that another version of zmartd has applied",
        uses=_URL,
        needs=("database",),
        remedy="run `zmartd migrate` of the newest version that uses this database",
    ),
    Check(
        name="pooler",
        look=_pooler,
        about="what stands between the daemon and Postgres, and whether database.pooled fits it",
        uses=_URL,
        needs=("database",),
        remedy="set database.pooled to auto",
    ),
    Check(
        name="postgres",
        look=_server,
        about="Postgres's version, encoding, settings on which the data's safety depends, and connections",
        uses=_URL,
        needs=("database",),
    ),
)
