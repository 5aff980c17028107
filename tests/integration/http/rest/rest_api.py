"""The REST side of a daemon on real parts, and callers of it."""

from __future__ import annotations

import base64
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis
from solders.keypair import Keypair
from solders.transaction import Transaction

from tests.integration.http.contract.response_contract import hold_to_contract
from tests.integration.http.served import Client, Served
from tests.patience import SECONDS
from tests.shared_secrets import shared_secret
from zmartd.chain.admins import Admins
from zmartd.chain.codec import Codec
from zmartd.chain.discriminators import discriminator
from zmartd.chain.idl import Idl, default_idl
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.transactions import parse_transaction
from zmartd.clock import SystemClock
from zmartd.config import (
    AMPLE_RATE_LIMITS,
    AuthSettings,
    DatabaseSettings,
    HeliusSettings,
    MarketSettings,
    RateLimitSettings,
    RealtimeSettings,
    ServerSettings,
    TransactionSettings,
    VotingSettings,
)
from zmartd.config_values import SharedSecret
from zmartd.daemon import MAX_API_RPC_REQUESTS
from zmartd.http.app import setup
from zmartd.http.auth.attempt_limiter import AttemptLimiter
from zmartd.http.auth.nonces import Nonces
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.sessions import SESSIONS, Sessions
from zmartd.http.auth.sign_in import SIGN_IN, SignIn
from zmartd.http.auth.signing_secrets import audience_of, signing_secrets
from zmartd.http.auth.tokens import Tokens
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import TRUSTED_PROXIES, TrustedProxies
from zmartd.http.machines.health import HEALTH, Dependency, Health
from zmartd.http.machines.operator import operator_application
from zmartd.http.ws.endpoint import WEBSOCKET, WebSocketEndpoint
from zmartd.indexer.apply import Indexer
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.inbox import Inbox
from zmartd.indexer.plausibility import Plausibility
from zmartd.ipfs.retrieval import Retrieval
from zmartd.realtime.bus import Bus
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.live_votes import LiveVotes
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.replica import Replica
from zmartd.task_settings import IpfsSnapshotSettings, MarketMonitorSettings
from zmartd.tasks.admin_decisions import AdminDecisions
from zmartd.tasks.announcements import Announcements
from zmartd.transactions.admission import Admission
from zmartd.transactions.funds import Funds
from zmartd.transactions.lookup_limit import LookupLimit
from zmartd.transactions.outbox import DatabaseOutbox
from zmartd.transactions.price_protection import Protections
from zmartd.transactions.relay import Relay
from zmartd.transactions.submission import Submitter
from zmartd.transactions.unsigned import TransactionBuilder

IDL: Idl = default_idl()
PROGRAM = Program(IDL, IDL.program_id)
CODEC = Codec(IDL)
AUDIENCE = audience_of("localnet", str(IDL.program_id))
BUY = discriminator("global", "buy_shares")
NOWHERE = "http://127.0.0.1:9"
"""An RPC endpoint at which nobody answers."""
PLENTY = replace(AMPLE_RATE_LIMITS, refused_deliveries_per_minute=100_000)

FREE_VOTES = VotingSettings(proposal_min_balance_lamports=0)
"""Votes on proposals that need no balance, so no chain either."""

AUTHORIZATION, HMAC_KEY = shared_secret("authorization"), shared_secret("hmac key")
WEBHOOK = HeliusSettings(
    authorization=SharedSecret(AUTHORIZATION), hmac_secret=SharedSecret(HMAC_KEY), max_body_bytes=200_000
)

MAX_PENDING_MARKETS = 5
"""Registered by one wallet and not on the chain."""


class Answer(Struct, frozen=True):
    """A response that has been read."""

    status: int
    body: Any
    headers: dict[str, str]


class Caller(Struct, frozen=True):
    """Somebody who calls the API: signed in when there is a wallet."""

    client: Client
    wallet: Keypair | None = None
    token: str | None = None

    async def get(self, path: str, **query: Any) -> Answer:
        return await _read(await self.client.get(path, params=query, headers=self.headers))

    async def post(self, path: str, body: Any = None) -> Answer:
        return await _read(await self.client.post(path, json=body, headers=self.headers))

    async def patch(self, path: str, body: Any) -> Answer:
        return await _read(await self.client.patch(path, json=body, headers=self.headers))

    async def delete(self, path: str) -> Answer:
        return await _read(await self.client.delete(path, headers=self.headers))

    async def carry_out(self, path: str, body: Any = None) -> Answer:
        """Ask for a transaction, sign it, and have it relayed."""
        unsigned = await self.post(path, body)
        assert unsigned.status in {200, 201}, unsigned.body
        return await self.relay_quoted(unsigned.body)

    async def relay_quoted(self, quoted: Mapping[str, Any]) -> Answer:
        """Sign the transaction in a body and have it relayed, with its protection if it is a trade."""
        signed = self.sign(quoted["transaction"])
        return await self.relay(signed, protection=quoted.get("protection"))

    async def relay(self, transaction: str, **limits: Any) -> Answer:
        """Have a transaction relayed; unless there are `limits`, without any for a purchase."""
        if not any(limits.values()) and buys(transaction):
            limits = {"min_shares": 0}
        return await self.post("/api/transactions", {"transaction": transaction, **limits})

    def sign(self, unsigned: str) -> str:
        """The transaction in base64 with this wallet's signature."""
        assert self.wallet is not None
        message = Transaction.from_bytes(base64.b64decode(unsigned)).message
        signed = Transaction([self.wallet], message, message.recent_blockhash)
        return base64.b64encode(bytes(signed)).decode()

    @property
    def address(self) -> str:
        assert self.wallet is not None
        return str(self.wallet.pubkey())

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Api(Struct, frozen=True):
    """A running REST API and what stands behind it."""

    client: Client
    operators_client: Client
    database: Database
    indexer: Indexer
    fetcher: Fetcher
    inbox: Inbox
    bus: Bus
    rpc: Rpc
    sessions: Sessions

    @property
    def anybody(self) -> Caller:
        return Caller(self.client)

    @property
    def operator(self) -> Caller:
        """Calls the operator's listener."""
        return Caller(self.operators_client)

    def as_wallet(self, wallet: Keypair) -> Caller:
        token, _ = self.sessions.open(str(wallet.pubkey()))
        return Caller(self.client, wallet, token)


@asynccontextmanager
async def running_api(
    database: Database,
    redis_url: str,
    rpc_url: str = NOWHERE,
    patience_seconds: float = 10.0,
    rate_limits: RateLimitSettings = PLENTY,
    voting: VotingSettings = FREE_VOTES,
    helius: HeliusSettings = WEBHOOK,
    transactions: TransactionSettings = TransactionSettings(),  # noqa: B008 - it is frozen
    ipfs: IpfsSnapshotSettings = IpfsSnapshotSettings(),  # noqa: B008 - it is frozen
    *,
    admins: tuple[str, ...] = (),
    legacy: bool = False,
    on_any_server: bool = False,
    replica: Replica | None = None,
) -> AsyncIterator[Api]:
    """`on_any_server`: on one of aiohttp's own instead of the daemon's."""
    clock = SystemClock()
    replica = replica or Replica(DatabaseSettings(), clock)
    redis = Redis.from_url(redis_url)
    outbox = DatabaseOutbox(database, transactions)
    parse = partial(parse_transaction, program_id=IDL.program_id, codec=CODEC)
    async with (
        Rpc(rpc_url, clock=clock, timeout_seconds=0.2 if rpc_url == NOWHERE else 5.0) as rpc,
        Sender(rpc, outbox, clock, IDL, poll_seconds=0.02) as sender,
    ):
        bus = Bus(redis, clock)
        publisher = StreamPublisher(bus)
        indexer = Indexer(database, publisher, PROGRAM.pdas)
        plausibility = Plausibility(rpc.chain_time, clock, jumps=True)
        fetcher = Fetcher(rpc, indexer, parse, plausibility)
        inbox = Inbox(database, indexer, parse, clock, plausibility)
        auth = AuthSettings(
            jwt_secret=SharedSecret(shared_secret("sessions")),
            domains=("localhost:4000",),
            legacy_signature_header=legacy,
            admins=admins,
        )
        revocations = Revocations(database, clock)
        sessions = Sessions(Tokens(auth, AUDIENCE, clock, new_id), revocations, clock)
        nonces = Nonces(auth, AUDIENCE, revocations, clock, new_id)
        hub = Hub(bus, StreamHistory(database, replica.log.announced), RealtimeSettings(), clock)

        shared = rpc.share(MAX_API_RPC_REQUESTS)
        shared_fetcher = Fetcher(shared, indexer, parse, plausibility)
        funds = Funds(shared, "localnet")
        app = web.Application(client_max_size=4_096)
        app[keys.CLOCK] = clock
        app[keys.SERVER] = ServerSettings(environment="development", cors_origins=("https://app.example",))
        app[keys.AUTH] = auth
        app[keys.RATE_LIMITS] = rate_limits
        app[keys.VOTING] = voting
        app[keys.ADMINS] = Admins(shared, IDL.program_id, auth.admins)
        app[keys.ADMIN_DECISIONS] = AdminDecisions(
            database, shared, PROGRAM, Announcements(database, publisher), voting.trusted_resolvers
        )
        app[keys.MARKET_MONITOR] = MarketMonitorSettings()
        app[keys.MARKET_SETTINGS] = MarketSettings(max_pending_per_wallet=MAX_PENDING_MARKETS)
        app[keys.TRANSACTION_SETTINGS] = transactions
        app[keys.CLUSTER] = "localnet"
        app[keys.HELIUS] = helius
        app[keys.RETRIEVAL] = Retrieval(ipfs, clock, random.Random(7))
        app[TRUSTED_PROXIES] = TrustedProxies(["127.0.0.1"], clock)
        app[keys.DATABASE] = database
        app[keys.REPLICA] = replica
        app[keys.BUS] = bus
        app[keys.PUBLISHER] = publisher
        app[keys.LIVE_VOTES] = LiveVotes(redis, database, clock)
        app[keys.REDIS] = redis
        app[keys.INBOX] = inbox
        app[keys.RPC] = shared
        app[keys.CHAIN_TIME] = plausibility.present
        app[keys.IDL] = IDL
        app[keys.PROGRAM] = PROGRAM
        app[keys.TRANSACTION_BUILDER] = TransactionBuilder(shared, IDL, funds)
        app[keys.ADMISSION] = Admission(IDL.program_id, transactions.companions)
        app[keys.PROTECTIONS] = Protections(signing_secrets(auth), AUDIENCE)
        app[keys.RELAY] = Relay(
            outbox=outbox,
            submitter=Submitter(database, sender, shared_fetcher),
            fetcher=shared_fetcher,
            rpc=shared,
            idl=IDL,
            clock=clock,
            funds=funds,
            lookups=LookupLimit(clock),
            patience_seconds=patience_seconds,
            max_fee_lamports=transactions.max_fee_lamports,
        )
        app[SESSIONS] = sessions
        app[SIGN_IN] = SignIn(auth, "localnet", nonces, AttemptLimiter(redis), clock, every_loopback=True)
        app[WEBSOCKET] = WebSocketEndpoint(
            hub,
            sessions,
            RealtimeSettings(),
            clock,
            redis=redis,
            new_client_id=lambda: "client",
            newest_slot=plausibility.newest_slot,
            jitter=random.Random(7),
        )
        app[HEALTH] = Health(
            {
                "database": Dependency(probe=_probe(database), essential=True),
                "rpc": Dependency(probe=_asks(rpc)),
            },
            clock,
            probe_seconds=SECONDS,
        )
        setup(app)
        hold_to_contract(app)
        operator = operator_application(app[HEALTH], app[keys.SERVER], "127.0.0.1", clock)
        server = TestServer(app) if on_any_server else Served(app)
        async with TestClient(server) as client, TestClient(Served(operator)) as operators_client:
            yield Api(client, operators_client, database, indexer, fetcher, inbox, bus, rpc, sessions)
        await app[HEALTH].close()
    await redis.aclose()


def buys(transaction: str) -> bool:
    """Whether a transaction in base64 has a purchase."""
    return BUY in base64.b64decode(transaction)


def new_id() -> str:
    return secrets.token_hex(16)


async def _read(response: ClientResponse) -> Answer:
    is_json = response.content_type == "application/json"
    body = await response.json() if is_json else await response.text()
    return Answer(response.status, body, dict(response.headers))


def _probe(database: Database) -> Any:
    async def probe() -> None:
        async with database.service() as connection:
            await connection.fetchval("select 1")

    return probe


def _asks(rpc: Rpc) -> Any:
    async def probe() -> None:
        await rpc.health()

    return probe
