"""A small application with the real authentication, and one route for each degree of trust."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from redis.asyncio import Redis

from tests.integration.http.contract.response_contract import hold_to_contract
from tests.integration.http.served import Client, Serve, Served
from tests.shared_secrets import shared_secret
from tests.signing_wallet import FixedClock
from zmartd.clock import Clock
from zmartd.config import Auth, SharedSecret
from zmartd.http.auth import routes as auth_routes
from zmartd.http.auth.attempts import Attempts
from zmartd.http.auth.identity import Authenticator, caller_of, require_session, require_wallet
from zmartd.http.auth.nonces import Nonces
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.secrets import audience_of
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.sign_in import SignIn
from zmartd.http.auth.tokens import Tokens
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TrustedProxies
from zmartd.http.middleware import cors
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import chain
from zmartd.store.pool import Database

SETTINGS = Auth(
    jwt_secret=SharedSecret(shared_secret("sessions")), domains=("zmart.example", "localhost:3000")
)
AUDIENCE = audience_of("devnet", "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")


def new_id() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def application(clock: FixedClock, database: Database) -> Callable[..., Served]:
    def build(
        redis: Redis,
        clock: Clock = clock,
        *,
        legacy: bool = False,
        settings: Auth = SETTINGS,
        database: Database = database,
    ) -> Served:
        revocations = Revocations(database, clock)
        sessions = Sessions(Tokens(settings, AUDIENCE, clock, new_id), revocations, clock)
        app = web.Application()
        nonces = Nonces(settings, AUDIENCE, revocations, clock, new_id)
        app[keys.DATABASE] = database
        app[keys.SESSIONS] = sessions
        app[keys.SIGN_IN] = SignIn(settings, "devnet", nonces, Attempts(redis), clock)
        app[keys.TRUSTED_PROXIES] = TrustedProxies(["127.0.0.1"])
        app.add_routes(operation.route() for operation in auth_routes.OPERATIONS)
        routes = [web.get("/public", public), web.get("/mine", mine), web.post("/money", money)]
        browsers = cors.install(app, app.add_routes(routes), [])
        authenticator = Authenticator(sessions, legacy, clock)
        app[keys.AROUND] = chain(clock, AccessLog(clock), authenticator, None, browsers)
        hold_to_contract(app)
        return Served(app)

    return build


@pytest.fixture
async def client(application: Callable[..., Served], redis: Redis, aiohttp_client: Serve) -> Client:
    return await aiohttp_client(application(redis))


async def public(request: web.Request) -> web.Response:
    return web.json_response({"wallet": caller_of(request).wallet})


async def mine(request: web.Request) -> web.Response:
    return web.json_response({"wallet": require_wallet(request)})


async def money(request: web.Request) -> web.Response:
    return web.json_response({"wallet": require_session(request).wallet})
