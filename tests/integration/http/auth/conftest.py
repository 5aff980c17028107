"""A small application with the real authentication, and one route for each degree of trust."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from msgspec import Struct
from redis.asyncio import Redis

from tests.integration.http.contract.response_contract import hold_to_contract
from tests.integration.http.served import Client, Serve, Served
from tests.shared_secrets import shared_secret
from tests.signing_wallet import FixedClock
from zmartd.clock import Clock
from zmartd.config import AuthSettings, DatabaseSettings, ServerSettings
from zmartd.config_values import SharedSecret
from zmartd.http.auth import routes as auth_routes
from zmartd.http.auth.attempt_limiter import AttemptLimiter
from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.auth.nonces import Nonces
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.sessions import SESSIONS, Sessions
from zmartd.http.auth.sign_in import SIGN_IN, SignIn
from zmartd.http.auth.signing_secrets import audience_of
from zmartd.http.auth.tokens import Tokens
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TRUSTED_PROXIES, TrustedProxies
from zmartd.http.kit.dispatch import add_operation
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.middleware import cors, unmatched
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import Pipeline
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.replica import Replica

SETTINGS = AuthSettings(
    jwt_secret=SharedSecret(shared_secret("sessions")), domains=("zmart.example", "localhost:3000")
)
AUDIENCE = audience_of("devnet", "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")


def new_id() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def application(clock: FixedClock, database: Database) -> Callable[..., Served]:
    def build(
        redis: Redis,
        clock: Clock = clock,
        *,
        legacy: bool = False,
        settings: AuthSettings = SETTINGS,
        database: Database = database,
    ) -> Served:
        revocations = Revocations(database, clock)
        sessions = Sessions(Tokens(settings, AUDIENCE, clock, new_id), revocations, clock)
        app = web.Application()
        nonces = Nonces(settings, AUDIENCE, revocations, clock, new_id)
        app[keys.DATABASE] = database
        app[keys.REPLICA] = Replica(DatabaseSettings(), clock)
        app[SESSIONS] = sessions
        app[SIGN_IN] = SignIn(settings, "devnet", nonces, AttemptLimiter(redis), clock)
        app[TRUSTED_PROXIES] = TrustedProxies(["127.0.0.1"], clock)
        app[keys.SERVER] = ServerSettings()
        pipeline = Pipeline(clock, AccessLog(clock), Authenticator(sessions, legacy, clock))
        for operation in auth_routes.OPERATIONS:
            add_operation(app, operation, pipeline.wrap)
        routes = [route for one in OPERATIONS for route in add_operation(app, one, pipeline.wrap)]
        unmatched.install(app, pipeline.wrap, cors.install(app, routes, [], pipeline.wrap))
        hold_to_contract(app)
        return Served(app)

    return build


@pytest.fixture
async def client(application: Callable[..., Served], redis: Redis, aiohttp_client: Serve) -> Client:
    return await aiohttp_client(application(redis))


class Whose(Struct, frozen=True):
    """Whom the handler took the caller for."""

    wallet: str | None


async def public(call: Call[None]) -> Whose:
    return Whose(call.caller.wallet)


async def mine(call: Call[None]) -> Whose:
    return Whose(call.wallet)


async def money(call: Call[None]) -> Whose:
    return Whose(call.session.wallet)


OPERATIONS: tuple[Operation[Any], ...] = tuple(
    Operation(
        method=method, path=path, handler=handler, summary="", tag="", responses={200: Whose}, access=access
    )
    for method, path, handler, access in (
        ("GET", "/public", public, Access.PUBLIC),
        ("GET", "/mine", mine, Access.WALLET),
        ("POST", "/money", money, Access.SESSION),
    )
)
