"""Finds connections to other machines that are not encrypted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from zmartd.config import Settings
from zmartd.endpoint import HTTP, POSTGRES, REDIS, Address, read
from zmartd.redis_pool import addresses

_ENCRYPTING_SSL_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""With the other modes, e.g. prefer, anybody on the way can force plaintext."""


def unencrypted_connections(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> list[tuple[str, str]]:
    """The dependencies with unencrypted connections, each with a warning that says what to do.

    A machine in a private network is another machine, too. `environ` contains libpq's defaults.
    """
    redis = read(settings.redis.url.reveal(), REDIS)
    rpc = read(settings.solana.rpc_url.reveal(), HTTP)
    receivers = [
        (f"alerts.{name}.url", read(url.reveal(), HTTP))
        for name, url in (("webhook", settings.alerts.webhook.url), ("slack", settings.alerts.slack.url))
        if url
    ]
    found: list[tuple[str, Sequence[Address], str]] = []
    for name, setting, url in (
        ("database", "database.url", settings.database.url),
        ("replica", "database.replica_url", settings.database.replica_url),
    ):
        if not url:
            continue
        database = read(url.reveal(), POSTGRES)
        hosts = database.query.get("host") or environ.get("PGHOST", "")
        servers = database.addresses or [Address(host) for host in hosts.split(",") if host]
        ssl_mode = database.query.get("sslmode") or environ.get("PGSSLMODE")
        if ssl_mode not in _ENCRYPTING_SSL_MODES:
            remedy = f"add sslmode=verify-full to {setting} (require encrypts, but trusts any server)"
            found.append((name, servers, remedy))
    if redis.scheme == "redis":
        found.append(("redis", addresses(settings.redis), "write rediss:// in redis.url"))
    if rpc.scheme == "http":
        found.append(("rpc", rpc.addresses, "write https:// in solana.rpc_url"))
    found += [
        ("alerts", receiver.addresses, f"write https:// in {name}")
        for name, receiver in receivers
        if receiver.scheme == "http"
    ]
    return [(name, _warning(servers, remedy)) for name, servers, remedy in found if not _are_local(servers)]


def _are_local(servers: Sequence[Address]) -> bool:
    return all(server.is_local for server in servers)


def _warning(servers: Sequence[Address], remedy: str) -> str:
    return (
        f"what is sent to {', '.join(map(str, servers))} can be read and changed on its way, passwords as "
        f"well: {remedy}, or lead it through an encrypted network of your own"
    )
