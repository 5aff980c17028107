"""A daemon's WebSocket side: the endpoint, a hub that is running, a bus, and markets to take snapshots of."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestClient
from msgspec import Struct
from redis.asyncio import Redis

from tests.integration.http.contract.response_contract import hold_to_contract
from tests.integration.http.served import Client, Served
from tests.integration.realtime import listeners
from tests.integration.realtime.listeners import Markets
from tests.shared_secrets import shared_secret
from zmartd.clock import Clock, SystemClock
from zmartd.config import AuthSettings, RealtimeSettings
from zmartd.config_values import SharedSecret
from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.tokens import Tokens
from zmartd.http.kit.client_address import TRUSTED_PROXIES, TrustedProxies
from zmartd.http.kit.dispatch import add_operation
from zmartd.http.middleware import cors, unmatched
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.chain import Pipeline
from zmartd.http.pages.routes import OPERATIONS as PAGES
from zmartd.http.sse.routes import OPERATIONS as EVENTS
from zmartd.http.ws.endpoint import WEBSOCKET, WebSocketEndpoint
from zmartd.http.ws.routes import OPERATIONS
from zmartd.realtime.bus import Bus
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.messages import TradeExecuted
from zmartd.store.postgres.database import Database

NEWEST_SLOT = 321_000_001

LIMITS = RealtimeSettings(max_connections_per_ip=20, max_subscriptions=3)
AUTH = AuthSettings(jwt_secret=SharedSecret(shared_secret("sessions")))
SYSTEM_CLOCK = SystemClock()


class Daemon(Struct):
    """One daemon and a client for it."""

    client: Client
    markets: Markets
    sessions: Sessions


StartDaemon = Callable[..., Awaitable[Daemon]]


@asynccontextmanager
async def running_daemon(
    redis_url: str,
    database: Database,
    settings: RealtimeSettings = LIMITS,
    auth: AuthSettings = AUTH,
    clock: Clock = SYSTEM_CLOCK,
    *,
    hands_over: bool | None = None,
) -> AsyncIterator[Daemon]:
    redis = Redis.from_url(redis_url)
    bus = Bus(redis, clock)
    markets = Markets(database, bus)
    await markets.create()
    hub = Hub(bus, StreamHistory(database), settings, clock)
    tokens = Tokens(auth, "zmartd:localnet:test", clock, lambda: secrets.token_hex(16))
    sessions = Sessions(tokens, Revocations(database, clock), clock)
    names = count(1)
    endpoint = WebSocketEndpoint(
        hub,
        sessions,
        settings,
        clock,
        redis=redis,
        new_client_id=lambda: f"client_{next(names)}",
        newest_slot=newest_slot,
        jitter=random.Random(7),
    )
    loops = (hub.run, endpoint.watch_sessions, endpoint.keep_places)
    work = [asyncio.create_task(loop()) for loop in loops]
    async with asyncio.timeout(120):
        await hub.listening()
    async with TestClient(Served(_application(endpoint, sessions), hands_over=hands_over)) as client:
        yield Daemon(client, markets, sessions)
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    await redis.aclose()


def trade(number: int, note: str = "") -> TradeExecuted:
    return msgspec.structs.replace(listeners.trade(f"{number}{note}"), signature=str(number))


async def newest_slot() -> int:
    return NEWEST_SLOT


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_seconds: float = 15) -> None:
    """Return when `condition` holds; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(timeout_seconds):
        while not await condition():  # noqa: ASYNC110 - conditions are of many kinds, few of them events
            await asyncio.sleep(0.005)


def _application(endpoint: WebSocketEndpoint, sessions: Sessions) -> web.Application:
    clock = SystemClock()
    app = web.Application()
    app[TRUSTED_PROXIES] = TrustedProxies(["127.0.0.1"], clock)
    app[WEBSOCKET] = endpoint
    pipeline = Pipeline(clock, AccessLog(clock), Authenticator(sessions, False, clock))
    routes = [
        route for one in OPERATIONS + PAGES + EVENTS for route in add_operation(app, one, pipeline.wrap)
    ]
    unmatched.install(app, pipeline.wrap, cors.install(app, routes, [], pipeline.wrap))
    app.on_shutdown.append(endpoint.close)
    hold_to_contract(app)
    return app
