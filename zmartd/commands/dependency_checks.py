"""The checks of `zmartd check`: everything that the daemon depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError
from solders.keypair import Keypair

from zmartd import config_file, endpoint, plaintext
from zmartd.alerts.receivers import certificate_authorities, require_secret, urls
from zmartd.chain.idl import Idl
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.config import Pooled, Settings
from zmartd.config_values import ServiceUrl
from zmartd.dependencies import (
    authority_of,
    connect_redis,
    idl_of,
    require_private_tls_keys,
    require_program,
)
from zmartd.errors import ZmartdError
from zmartd.http.auth.signing_secrets import signing_secrets
from zmartd.http.machines.webhook_credentials import require_webhook_secret
from zmartd.http.machines.webhook_verification import require_room_for_bodies
from zmartd.store import inbox, parked
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import pending
from zmartd.store.postgres.pooling import Pooling, find_pooling
from zmartd.store.schema import finds_small_mistakes
from zmartd.tasks.plugins import task_names, unloadable

_MIN_LAMPORTS = 10_000_000
"""Enough for two thousand transactions; the check fails below this."""

_RENT_LAMPORTS_PER_BYTE = 6_960
_ACCOUNT_OVERHEAD_BYTES = 128
"""An account is exempt from rent with two years' rent of its data and of this overhead."""

_RECEIVER_REMEDY = "check its URL, and whether this machine may connect to it"
_NO_EVICTION = "noeviction"

_WAYS = {
    Pooling.NONE: "connected directly",
    Pooling.SESSION: "through a session pooler, where each connection takes up one to Postgres",
    Pooling.TRANSACTION: "through a transaction pooler",
}

Verdict = Literal["ok", "warning", "failed"]


class Finding(Struct, frozen=True):
    """The result of one check. `detail` says what was found, or what to do."""

    name: str
    verdict: Verdict
    detail: str

    @property
    def ok(self) -> bool:
        """Whether the daemon can work; it can with a warning."""
        return self.verdict != "failed"


class _Warning(Exception):
    """A warning; its text says what an operator should check."""


async def check_dependencies(config_path: Path | None) -> list[Finding]:
    """Check configuration, plugins, database, Redis, RPC, program, fee wallet and authority, each alone."""
    findings: list[Finding] = []
    try:
        settings = config_file.load(config_path)
        idl = idl_of(settings.solana)
        authority = authority_of(settings.solana)
        require_private_tls_keys(settings)
    except ZmartdError as error:
        return [Finding("configuration", "failed", error.message)]
    findings.append(await _finding("configuration", lambda: _configuration(settings)))
    exposed = config_file.exposed_secrets(config_path)
    if exposed:
        findings.append(Finding("configuration", "warning", exposed))
    findings += [
        Finding(name, "warning", detail) for name, detail in plaintext.unencrypted_connections(settings)
    ]
    findings.append(await _finding("plugins", lambda: _plugins(settings)))
    findings.append(await _finding("database", lambda: _database(settings)))
    if findings[-1].ok:
        findings.append(await _finding("index", lambda: _index(settings)))
        findings.append(await _finding("search", lambda: _search(settings)))
    findings.append(await _finding("redis", lambda: _redis(settings)))
    findings += [
        await _finding(f"alerts to {name}", partial(_receiver, url, settings.alerts.attempt_seconds))
        for name, url in urls(settings.alerts).items()
    ]
    async with Rpc(
        settings.solana.rpc_url.reveal(), clock=SystemClock(), timeout_seconds=settings.solana.timeout_seconds
    ) as rpc:
        findings.append(await _finding("rpc", lambda: _rpc(rpc)))
        if findings[-1].ok:
            findings.append(await _finding("program", lambda: _program(rpc, idl)))
        if findings[-1].ok:
            findings.append(await _finding("fee wallet", lambda: _fee_wallet(rpc, idl)))
            findings.append(await _finding("authority", lambda: _authority(rpc, idl, authority)))
    return findings


async def _finding(name: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(name, "ok", await look())
    except _Warning as doubt:
        return Finding(name, "warning", str(doubt))
    except ZmartdError as error:
        return Finding(name, "failed", error.message)


async def _configuration(settings: Settings) -> str:
    require_webhook_secret(settings)
    require_secret(settings.alerts)
    require_room_for_bodies(settings.helius)
    signing_secrets(settings.auth)
    return f"environment {settings.server.environment}"


async def _plugins(settings: Settings) -> str:
    broken = unloadable(tables=settings.plugins)
    if broken:
        named = "; ".join(f"{one.name} ({one.target}): {one.problem}" for one in broken)
        raise ZmartdError(f"tasks that cannot be loaded, so they never run: {named}")
    return f"all {len(task_names())} tasks can be loaded"


async def _receiver(url: ServiceUrl, seconds: float) -> str:
    """Connect, and send nothing."""
    where = endpoint.read(url.reveal(), endpoint.HTTP)
    if len(where.addresses) != 1:
        raise ZmartdError("its URL does not name one host: give it as https://host/path")
    (address,) = where.addresses
    secure = where.scheme == "https"
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(
                address.host,
                address.port or (443 if secure else 80),
                ssl=certificate_authorities() if secure else None,
            )
    except TimeoutError:
        raise ZmartdError(f"{address} does not answer within {seconds:g} s: {_RECEIVER_REMEDY}") from None
    except OSError as error:
        raise ZmartdError(
            f"{address} cannot be reached ({endpoint.reason(error)}): {_RECEIVER_REMEDY}"
        ) from None
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return f"{address} can be reached; `zmartd alerts test` sends it a message"


async def _database(settings: Settings) -> str:
    waiting = await pending(settings.database.url.reveal())
    if waiting:
        raise ZmartdError(f"{len(waiting)} migrations are not applied: run `zmartd migrate`")
    database = await Database.connect(settings.database)
    await database.close()
    pooling = await find_pooling(settings.database.url.reveal())
    return f"up to date, {_WAYS[pooling]}{_consequence(pooling, settings.database.pooled)}"


def _consequence(pooling: Pooling, pooled: Pooled) -> str:
    """What it means that nothing may be left on a connection, where this is so."""
    if pooled == "no" or (pooled == "auto" and pooling is Pooling.NONE):
        return ""
    remedy = "" if pooling is Pooling.TRANSACTION else ", which database.pooled = no spares"
    return f": each transaction brings its settings along, and a read takes two round trips{remedy}"


async def _index(settings: Settings) -> str:
    database = await Database.connect(settings.database)
    try:
        async with database.service() as connection:
            transactions = sum((await parked.counts(connection)).values())
            deliveries = (await inbox.depth(connection)).parked
    finally:
        await database.close()
    found = []
    if transactions:
        found.append(
            f"{transactions} transactions could not be read or applied yet: `zmartd inbox parked` lists them"
        )
    if deliveries:
        found.append(f"{deliveries} deliveries are parked: `zmartd inbox list` lists them")
    if found:
        raise _Warning("; ".join(found))
    return "nothing is parked"


async def _search(settings: Settings) -> str:
    if not await finds_small_mistakes(settings.database.url.reveal()):
        raise _Warning(
            "finds nothing for words with a letter wrong, because it cannot use pg_trgm: as an administrator "
            "run CREATE EXTENSION pg_trgm in this database, grant USAGE on its schema to anon, authenticated "
            "and service_role, and then run `zmartd migrate`"
        )
    return "finds words with small mistakes, too"


async def _redis(settings: Settings) -> str:
    redis = await connect_redis(settings.redis)
    try:
        policy = await _eviction_policy(redis)
    finally:
        await redis.aclose()
    if policy is None:
        raise _Warning(
            "answers, but shows its maxmemory-policy to this user neither in INFO nor in CONFIG GET: make "
            "sure that it is noeviction"
        )
    if policy != _NO_EVICTION:
        raise ZmartdError(
            f"maxmemory-policy is {policy}: when memory is full, Redis drops sessions that were ended, task "
            "locks and counts of requests, and goes on as if they had never been. "
            f"`redis-cli CONFIG SET maxmemory-policy {_NO_EVICTION}`, and the same in redis.conf or the "
            "provider's settings"
        )
    return f"answers, {policy}"


async def _eviction_policy(redis: Redis) -> str | None:
    """The server's maxmemory-policy, or None. INFO comes first: hosted servers often refuse CONFIG."""
    with suppress(RedisError):
        policy = (await redis.info("memory")).get("maxmemory_policy")
        if policy:
            return str(policy)
    with suppress(RedisError):
        for policy in (await redis.config_get("maxmemory-policy")).values():
            return policy.decode() if isinstance(policy, bytes) else str(policy)
    return None


async def _rpc(rpc: Rpc) -> str:
    version, time = await rpc.version(), await rpc.chain_time()
    return f"{rpc.endpoint}, version {version}, slot {time.slot}"


async def _program(rpc: Rpc, idl: Idl) -> str:
    configuration = await require_program(rpc, idl.program_id)
    if configuration is None:
        raise ZmartdError(
            f"{idl.program_id} has no configuration yet: its admin has to send initialize_global_config"
        )
    paused = ", PAUSED" if configuration.is_paused else ""
    return f"{idl.program_id}, dispute period {configuration.dispute_period} s{paused}"


async def _fee_wallet(rpc: Rpc, idl: Idl) -> str:
    configuration = await require_program(rpc, idl.program_id)
    if configuration is None:
        raise ZmartdError(f"{idl.program_id} has no configuration, and so no fee wallet")
    wallet = configuration.protocol_fee_wallet
    account = await rpc.account(wallet)
    data_bytes, lamports = (0, 0) if account is None else (len(account.data), account.lamports)
    needed = (_ACCOUNT_OVERHEAD_BYTES + data_bytes) * _RENT_LAMPORTS_PER_BYTE
    if lamports < needed:
        raise ZmartdError(
            f"{wallet} has {lamports} lamports, and Solana refuses trades whose fee leaves it below "
            f"{needed}: send it at least {needed - lamports}"
        )
    return f"{wallet} takes the protocol's fees"


async def _authority(rpc: Rpc, idl: Idl, authority: Keypair | None) -> str:
    configuration = await require_program(rpc, idl.program_id)
    if authority is None:
        raise _Warning(
            "there is no key: this daemon leaves the authority's transactions to others; set "
            "solana.authority_keypair_path or solana.authority_secret_key where it should"
        )
    address = authority.pubkey()
    if configuration is None or configuration.backend_authority != address:
        expected = None if configuration is None else configuration.backend_authority
        raise ZmartdError(f"the key is {address}, but the program's backend authority is {expected}")
    account = await rpc.account(address)
    lamports = 0 if account is None else account.lamports
    if lamports < _MIN_LAMPORTS:
        raise ZmartdError(f"{address} has {lamports} lamports: send it at least {_MIN_LAMPORTS} for fees")
    if configuration.admin != address:
        return f"{address} may count votes; proposals are approved by the admin {configuration.admin}"
    return f"{address} may count votes and approve proposals"
