"""Two daemons behind the shipped nginx, on real servers, with a market and a snapshot of its comments."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.integration.nginx.client import client_of
from tests.integration.store.rows import NOON, insert, insert_market, wallet
from tests.nginx import Nginx
from tests.patience import patient_database
from tests.service_manager import Service, clean_environment
from tests.shared_secrets import shared_secret
from zmartd.chain.idl import default_idl
from zmartd.clock import SystemClock
from zmartd.config import AuthSettings, SolanaSettings
from zmartd.config_values import SharedSecret
from zmartd.http.auth.signing_secrets import audience_of
from zmartd.http.auth.tokens import Tokens
from zmartd.market.ids import cid_v0
from zmartd.store import discussion_snapshots
from zmartd.store.discussion_snapshots import ReadComments, Taken
from zmartd.store.postgres.database import Database

HELIUS = "127.0.0.10"
"""The address that webhooks are taken from."""
AUTHORIZATION = shared_secret("helius")
READS_PER_MINUTE = 30
"""Of one address without a session."""
_NOBODY = "http://127.0.0.1:9"


class System(Struct):
    nginx: Nginx
    daemons: tuple[Service, Service]
    market: str
    snapshot: str
    """The content id of the snapshot,"""
    content: bytes
    """and the snapshot."""
    token: str
    """That of a session."""

    async def post_comment(self, text: str, address: str = "127.0.0.2") -> int:
        """Comment on the market, through nginx; the status of the answer."""
        signed_in = {"Authorization": f"Bearer {self.token}"}
        path = f"/api/discussions/{self.market}"
        async with (
            client_of(self.nginx, address, headers=signed_in) as client,
            client.post(path, json={"content": text}) as response,
        ):
            await response.read()
            return response.status

    async def log_of(self, *request_ids: str) -> list[dict[str, Any]]:
        """What nginx logged about these requests, in their order; it does so after its answers."""
        while True:
            known = {line["request_id"]: line for line in self.nginx.logged()}
            if known.keys() >= set(request_ids):
                return [known[one] for one in request_ids]
            await asyncio.sleep(0.01)


@asynccontextmanager
async def system(directory: Path, database_url: str, redis_url: str) -> AsyncIterator[System]:
    """Everything runs, on a database and a Redis that hold nothing yet. Raises NotToBeHad without nginx."""
    jwt_secret = shared_secret("jwt")
    environment = clean_environment() | {
        "ZMARTD_DATABASE_URL": database_url,
        "ZMARTD_REDIS_URL": redis_url,
        "ZMARTD_SOLANA_RPC_URL": _NOBODY,
        "ZMARTD_AUTH_JWT_SECRET": jwt_secret,
        "ZMARTD_HELIUS_AUTHORIZATION": AUTHORIZATION,
        "ZMARTD_SERVER_TRUSTED_PROXIES": "127.0.0.1",
        "ZMARTD_RATE_LIMITS_IP_READS_PER_MINUTE": str(READS_PER_MINUTE),
    }
    audience = audience_of(SolanaSettings().cluster, str(default_idl().program_id))
    auth = AuthSettings(jwt_secret=SharedSecret(jwt_secret))
    tokens = Tokens(auth, audience, SystemClock(), lambda: secrets.token_hex(16))
    async with AsyncExitStack() as stack:
        market, snapshot, content = await _filled(database_url)
        daemons = (
            await stack.enter_async_context(Service(directory, environment)),
            await stack.enter_async_context(Service(directory, environment)),
        )
        ports = [daemon.port for daemon in daemons]
        nginx = Nginx(directory / "nginx", ports, tls=True, helius=HELIUS)
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        await stack.enter_async_context(nginx)
        token, _ = tokens.issue(wallet("author"), int(time.time()))
        yield System(nginx, daemons, market, snapshot, content, token)


async def _filled(database_url: str) -> tuple[str, str, bytes]:
    """A market with a comment, and a snapshot of that: the market's id, and the snapshot's id and content."""
    database = await Database.connect(patient_database(database_url))
    async with database.service() as connection:
        market = await insert_market(connection, "rain")
        await insert(
            connection,
            "discussions",
            market_id=market,
            user_wallet=wallet("author"),
            content="It will rain.",
            created_at=NOON,
        )
        found = await discussion_snapshots.read(connection, market, NOON.replace(hour=13), 10**8)
        assert isinstance(found, ReadComments)
        content = found.snapshot.document()
        snapshot = cid_v0(content)
        await discussion_snapshots.save(connection, market, snapshot, content, 1)
        taken = Taken(market_id=market, cid=snapshot, day=NOON.date(), read_at=found.read_at)
        assert await discussion_snapshots.record(connection, taken)
    await database.close()
    return market, snapshot, content
