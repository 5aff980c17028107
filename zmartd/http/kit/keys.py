"""The application's keys for what handlers need. The daemon sets them.

Classes of http have their keys beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp.web import AppKey

from zmartd.task_settings import MarketMonitorSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from zmartd import config
    from zmartd.chain.admins import Admins
    from zmartd.chain.idl import Idl
    from zmartd.chain.program import Program
    from zmartd.chain.rpc import Rpc
    from zmartd.clock import Clock
    from zmartd.indexer.inbox import Inbox
    from zmartd.ipfs.retrieval import Retrieval
    from zmartd.realtime.beats import Beats
    from zmartd.realtime.bus import Bus
    from zmartd.realtime.hub import Hub
    from zmartd.realtime.live_votes import LiveVotes
    from zmartd.realtime.publisher import Publisher
    from zmartd.store.postgres.database import Database
    from zmartd.store.postgres.replica import Replica
    from zmartd.tasks.admin_decisions import AdminDecisions
    from zmartd.transactions.admission import Admission
    from zmartd.transactions.price_protection import Protections
    from zmartd.transactions.relay import Relay
    from zmartd.transactions.unsigned import TransactionBuilder

CLOCK: Final[AppKey[Clock]] = AppKey("clock")

BODIES_STAY_COMPRESSED: Final[AppKey[bool]] = AppKey("bodies_stay_compressed")
"""Set by a runner that turns aiohttp's decompression off; `codec` then decompresses bodies itself."""

SERVER: Final[AppKey[config.ServerSettings]] = AppKey("settings.server")
AUTH: Final[AppKey[config.AuthSettings]] = AppKey("settings.auth")
RATE_LIMITS: Final[AppKey[config.RateLimitSettings]] = AppKey("settings.rate_limits")
VOTING: Final[AppKey[config.VotingSettings]] = AppKey("settings.voting")
MARKET_MONITOR: Final[AppKey[MarketMonitorSettings]] = AppKey("settings.tasks.market_monitor")
MARKET_SETTINGS: Final[AppKey[config.MarketSettings]] = AppKey("settings.markets")
TRANSACTION_SETTINGS: Final[AppKey[config.TransactionSettings]] = AppKey("settings.transactions")
CLUSTER: Final[AppKey[str]] = AppKey("settings.solana.cluster")
HELIUS: Final[AppKey[config.HeliusSettings]] = AppKey("settings.helius")

DATABASE: Final[AppKey[Database]] = AppKey("database")
REPLICA: Final[AppKey[Replica]] = AppKey("replica")
REDIS: Final[AppKey[Redis]] = AppKey("redis")
BUS: Final[AppKey[Bus]] = AppKey("bus")
PUBLISHER: Final[AppKey[Publisher]] = AppKey("publisher")
HUB: Final[AppKey[Hub]] = AppKey("hub")
LIVE_VOTES: Final[AppKey[LiveVotes]] = AppKey("live_votes")
BEATS: Final[AppKey[Beats]] = AppKey("beats")
INBOX: Final[AppKey[Inbox]] = AppKey("inbox")
RETRIEVAL: Final[AppKey[Retrieval]] = AppKey("retrieval")

RPC: Final[AppKey[Rpc]] = AppKey("rpc")
IDL: Final[AppKey[Idl]] = AppKey("idl")
CHAIN_TIME: Final[AppKey[Callable[[], Awaitable[int]]]] = AppKey("chain_time")
"""The chain's time now in unix seconds. It asks the node at a limited rate, whoever asks for it."""
PROGRAM: Final[AppKey[Program]] = AppKey("program")
TRANSACTION_BUILDER: Final[AppKey[TransactionBuilder]] = AppKey("transaction_builder")
ADMISSION: Final[AppKey[Admission]] = AppKey("admission")
PROTECTIONS: Final[AppKey[Protections]] = AppKey("protections")
RELAY: Final[AppKey[Relay]] = AppKey("relay")
ADMINS: Final[AppKey[Admins]] = AppKey("admins")
ADMIN_DECISIONS: Final[AppKey[AdminDecisions]] = AppKey("admin_decisions")
