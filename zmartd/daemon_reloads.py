"""What a daemon takes over when its configuration has changed, and who is told."""

from __future__ import annotations

from aiohttp import web

from zmartd import log as log_lines
from zmartd.config import Settings
from zmartd.core import Core
from zmartd.dependencies import lead_redis_to
from zmartd.http.auth.nonces import Nonces
from zmartd.http.auth.signing_secrets import signing_secrets
from zmartd.http.auth.tokens import Tokens
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TRUSTED_PROXIES
from zmartd.http.machines.webhook_credentials import require_webhook_secret
from zmartd.http.machines.webhook_verification import DELIVERY_VERIFIER
from zmartd.reloading import Reloads


def reloads_of(core: Core, app: web.Application, tokens: Tokens, nonces: Nonces) -> Reloads:
    """What is taken over from a changed configuration, besides what listeners have."""
    reloads = Reloads(core.settings)
    reloads.on(
        "log.level", "log.format", apply=lambda new: log_lines.reconfigure(new.log.level, new.log.format)
    )
    reloads.on("database.url", apply=lambda new: _lead_database_to(core, new))
    reloads.on("database.replica_url", apply=lambda new: core.replica.lead_to(new.database))
    reloads.on("redis.url", apply=lambda new: lead_redis_to(core.redis, new.redis))
    reloads.on("solana.rpc_url", apply=lambda new: core.rpc.lead_to(new.solana.rpc_url.reveal()))
    reloads.on(
        "helius.authorization",
        "helius.authorization_previous",
        "helius.hmac_secret",
        "helius.hmac_secret_previous",
        apply=lambda new: _rotate_webhook_credentials(app, new),
    )

    def rotate_sessions(new: Settings) -> None:
        secrets = signing_secrets(new.auth)
        tokens.rotate(new.auth)
        nonces.rotate(new.auth)
        app[keys.PROTECTIONS].rotate(secrets)

    reloads.on("auth.jwt_secret", "auth.jwt_secret_previous", apply=rotate_sessions)
    reloads.on(
        "server.trusted_proxies",
        "server.forwarded_header",
        apply=lambda new: app[TRUSTED_PROXIES].believe(
            new.server.trusted_proxies, new.server.forwarded_header
        ),
    )
    return reloads


async def _lead_database_to(core: Core, new: Settings) -> None:
    core.database.lead_to(new.database)
    await core.replica.lead_to(new.database)


def _rotate_webhook_credentials(app: web.Application, new: Settings) -> None:
    require_webhook_secret(new)
    app[DELIVERY_VERIFIER].rotate(new.helius)
