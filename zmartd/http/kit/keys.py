"""Everything a handler may need from the application, under typed keys. The daemon puts it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp.web import AppKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Middleware
    from redis.asyncio import Redis

    from zmartd import config
    from zmartd.chain.idl import Idl
    from zmartd.chain.program import Program
    from zmartd.chain.rpc import Rpc
    from zmartd.clock import Clock
    from zmartd.http.auth.sessions import Sessions
    from zmartd.http.auth.sign_in import SignIn
    from zmartd.http.kit.client_address import TrustedProxies
    from zmartd.http.kit.etags import Unchanging
    from zmartd.http.machines.deliveries import Deliveries
    from zmartd.http.machines.health import Health
    from zmartd.http.openapi.endpoint import Published
    from zmartd.http.response_cache.cache import HotAnswers
    from zmartd.http.trading.relay import Relay
    from zmartd.http.trading.submission import Submissions
    from zmartd.http.trading.unsigned import TransactionBuilder
    from zmartd.http.ws.endpoint import WebSocketEndpoint
    from zmartd.indexer.inbox import Inbox
    from zmartd.realtime.bus import Bus
    from zmartd.realtime.hub import Hub
    from zmartd.store.pool import Database
    from zmartd.tasks.deciding import Deciding

CLOCK: Final[AppKey[Clock]] = AppKey("clock")

SERVER: Final[AppKey[config.Server]] = AppKey("settings.server")
AUTH: Final[AppKey[config.Auth]] = AppKey("settings.auth")
RATE_LIMITS: Final[AppKey[config.RateLimits]] = AppKey("settings.rate_limits")
VOTING: Final[AppKey[config.Voting]] = AppKey("settings.voting")
MARKETS: Final[AppKey[config.Markets]] = AppKey("settings.markets")
HELIUS: Final[AppKey[config.Helius]] = AppKey("settings.helius")

TRUSTED_PROXIES: Final[AppKey[TrustedProxies]] = AppKey("trusted_proxies")

DATABASE: Final[AppKey[Database]] = AppKey("database")
REDIS: Final[AppKey[Redis]] = AppKey("redis")
BUS: Final[AppKey[Bus]] = AppKey("bus")
HUB: Final[AppKey[Hub]] = AppKey("hub")
INBOX: Final[AppKey[Inbox]] = AppKey("inbox")

RPC: Final[AppKey[Rpc]] = AppKey("rpc")
IDL: Final[AppKey[Idl]] = AppKey("idl")
PROGRAM: Final[AppKey[Program]] = AppKey("program")
TRANSACTIONS: Final[AppKey[TransactionBuilder]] = AppKey("transactions")
RELAY: Final[AppKey[Relay]] = AppKey("relay")
SUBMISSIONS: Final[AppKey[Submissions]] = AppKey("submissions")
DECIDING: Final[AppKey[Deciding]] = AppKey("deciding")

HEALTH: Final[AppKey[Health]] = AppKey("health")

AROUND: Final[AppKey[Middleware]] = AppKey("around")
"""The steps about each handler, for whoever runs the application."""

OPENAPI: Final[AppKey[Published]] = AppKey("openapi")
DOCS: Final[AppKey[Mapping[str, Unchanging]]] = AppKey("docs")
HOT_ANSWERS: Final[AppKey[HotAnswers]] = AppKey("hot_answers")

SESSIONS: Final[AppKey[Sessions]] = AppKey("sessions")
SIGN_IN: Final[AppKey[SignIn]] = AppKey("sign_in")
WEBSOCKET: Final[AppKey[WebSocketEndpoint]] = AppKey("websocket")
DELIVERIES: Final[AppKey[Deliveries]] = AppKey("deliveries")
