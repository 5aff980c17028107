"""The daemon: the API, the WebSocket and the webhook in front of the core, and the work in the background.

`application` puts them together, `running` lets them listen, `serve` is the daemon's life.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from socket import socket
from typing import Final

import msgspec
from aiohttp import web

from zmartd import daemon_gauges
from zmartd.alerts.loop_lag import LoopLag
from zmartd.alerts.reporting import place_of, reporting
from zmartd.cancellation import cancel_all, is_being_cancelled
from zmartd.chain.admins import Admins
from zmartd.chain.program import Program
from zmartd.chain.transport import MAX_IN_FLIGHT
from zmartd.clock import Clock, SystemClock
from zmartd.config import ServerSettings, Settings
from zmartd.core import Core, admin_decisions, open_core
from zmartd.daemon_reloads import reloads_of
from zmartd.errors import ZmartdError
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
from zmartd.http.kit.development_chain import DEVELOPMENT_CHAIN, development_chain
from zmartd.http.machines.health import HEALTH
from zmartd.http.machines.operator import MAX_OPERATOR_CONNECTIONS, operator_application
from zmartd.http.machines.webhook_credentials import WebhookCredentials, require_webhook_secret
from zmartd.http.middleware.access_log import api_answers
from zmartd.http.server import file_descriptors
from zmartd.http.server.connection_limits import MAX_READING_REFUSALS, ConnectionLimits
from zmartd.http.server.runner import Runner
from zmartd.http.server.timeouts import ConnectionTimeouts
from zmartd.http.ws.endpoint import WEBSOCKET, WebSocketEndpoint
from zmartd.http.ws.keeping import Keeper
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.inbox import Inbox
from zmartd.indexer.pulse import PulseWriter
from zmartd.indexer.repricing import Repricer
from zmartd.ipfs.retrieval import Retrieval
from zmartd.log import get_logger
from zmartd.probes import Probes
from zmartd.realtime.beats import Beats
from zmartd.realtime.history import StreamHistory
from zmartd.realtime.hub import Hub
from zmartd.realtime.live_votes import LiveVotes
from zmartd.realtime.vote_totals import VoteTotals
from zmartd.redis_pool import MAX_CONNECTIONS as MAX_REDIS_CONNECTIONS
from zmartd.reloading import Reloads
from zmartd.store.postgres.database import FAILURES
from zmartd.systemd import ServiceManager, Sockets
from zmartd.transactions.admission import Admission
from zmartd.transactions.funds import Funds
from zmartd.transactions.lookup_limit import LookupLimit
from zmartd.transactions.price_protection import Protections
from zmartd.transactions.relay import Relay
from zmartd.transactions.submission import Submitter
from zmartd.transactions.unsigned import TransactionBuilder

CONFIRMATION_PATIENCE_SECONDS = 20.0
"""How long a client that sent a transaction waits for its confirmation before the answer is 202."""

MAX_API_RPC_REQUESTS = MAX_IN_FLIGHT * 3 // 4
"""The most concurrent RPC requests for callers of the API. They cost the callers nothing, so the rest is
reserved for the authority, the sender, the tasks and the indexer.
"""

OWN_DESCRIPTORS = MAX_IN_FLIGHT + MAX_REDIS_CONNECTIONS + MAX_OPERATOR_CONNECTIONS + MAX_READING_REFUSALS + 64
"""File descriptors of the daemon itself besides those for Postgres: for RPC, Redis and the operator's
listener, and 64 for listeners, logs, the event loop and what plugins open.
"""

RESTART_SECONDS = 1.0
CANCEL_SECONDS = 1.0
CANCELLATIONS = 5
RESTART_SIGNAL: Final = signal.SIGUSR2
"""Ends a daemon as SIGTERM does, but that systemd keeps the WebSockets for the next one there: the unit's
RestartKillSignal.
"""
BACKLOG = 16_384
"""Connections that the system holds until the daemon accepts them: of clients that all come back within one
turn of the event loop. Of more it drops some, which wait for a second, and then twice as long each time.
Linux allows `net.core.somaxconn`, a quarter of this by default.
"""
_OBJECTS_BEFORE_COLLECTION = 20_000
NO_MANAGER = ServiceManager()
NO_SOCKETS = Sockets()

RELOADS: Final[web.AppKey[Reloads]] = web.AppKey("reloads")
LOOP_LAG: Final[web.AppKey[LoopLag]] = web.AppKey("loop_lag")

log = get_logger(__name__)


def application(core: Core) -> web.Application:
    """The API, the WebSocket and the webhook as one aiohttp application, with their background work."""
    settings, clock, rpc = core.settings, core.clock, core.rpc.share(MAX_API_RPC_REQUESTS)
    require_webhook_secret(settings)
    app = web.Application(client_max_size=settings.server.max_body_bytes)
    audience = audience_of(settings.solana.cluster, str(core.idl.program_id))
    fetcher = Fetcher(rpc, core.indexer, core.parse, core.fetcher.plausibility)
    revocations = Revocations(core.database, clock)
    tokens = Tokens(settings.auth, audience, clock, _random_id)
    sessions = Sessions(tokens, revocations, clock)
    hub = Hub(
        core.bus,
        StreamHistory(core.database, core.replica.log.announced),
        settings.realtime,
        clock,
    )
    hub.watch(lambda _stream, _broadcasts: core.replica.log.announced())
    websocket = WebSocketEndpoint(
        hub,
        sessions,
        settings.realtime,
        clock,
        redis=core.redis,
        new_client_id=_random_id,
        newest_slot=core.fetcher.plausibility.newest_slot,
        jitter=random.Random(),  # noqa: S311 - it only keeps clients from returning together
    )
    funds = Funds(rpc, settings.solana.cluster)
    nonces = Nonces(settings.auth, audience, revocations, clock, _random_id)

    app[keys.CLOCK] = clock
    _set_settings(app, settings)
    app[TRUSTED_PROXIES] = trusted_proxies(settings.server, clock)
    app[keys.DATABASE] = core.database
    app[keys.REPLICA] = core.replica
    app[keys.REDIS] = core.redis
    app[keys.IDL] = core.idl
    app[keys.PROGRAM] = core.program
    app[keys.RPC] = rpc
    app[keys.CHAIN_TIME] = core.fetcher.plausibility.present
    app[keys.INBOX] = Inbox(core.database, core.indexer, core.parse, clock, core.fetcher.plausibility)
    app[keys.BUS] = core.bus
    app[keys.PUBLISHER] = core.publisher
    app[keys.HUB] = hub
    app[keys.LIVE_VOTES] = LiveVotes(core.redis, core.database, clock)
    app[keys.BEATS] = Beats(hub, core.bus, clock)
    app[keys.TRANSACTION_BUILDER] = TransactionBuilder(rpc, core.idl, funds)
    app[keys.ADMISSION] = Admission(core.idl.program_id, settings.transactions.companions)
    app[keys.PROTECTIONS] = Protections(signing_secrets(settings.auth), audience)
    app[keys.RELAY] = Relay(
        outbox=core.outbox,
        submitter=Submitter(core.database, core.sender, fetcher),
        fetcher=fetcher,
        rpc=rpc,
        idl=core.idl,
        clock=clock,
        funds=funds,
        lookups=LookupLimit(clock),
        patience_seconds=CONFIRMATION_PATIENCE_SECONDS,
        max_fee_lamports=settings.transactions.max_fee_lamports,
    )
    app[keys.ADMINS] = Admins(rpc, core.program.program_id, settings.auth.admins)
    app[keys.ADMIN_DECISIONS] = admin_decisions(core, rpc)
    app[keys.RETRIEVAL] = Retrieval(
        settings.tasks.ipfs_snapshot,
        clock,
        random.Random(),  # noqa: S311 - it only keeps daemons from returning together
    )
    app[SESSIONS] = sessions
    app[SIGN_IN] = SignIn(
        settings.auth,
        settings.solana.cluster,
        nonces,
        AttemptLimiter(core.redis),
        clock,
        every_loopback=settings.server.is_development,
    )
    app[WEBSOCKET] = websocket
    _install_probes(app, core)
    daemon_gauges.show(core, hub)

    setup(app)
    app[RELOADS] = reloads_of(core, app, tokens, nonces)
    app.on_shutdown.append(websocket.close)
    app.cleanup_ctx.append(partial(_background, core))
    return app


def _set_settings(app: web.Application, settings: Settings) -> None:
    app[keys.SERVER] = settings.server
    app[DEVELOPMENT_CHAIN] = development_chain(settings)
    app[keys.AUTH] = settings.auth
    app[keys.RATE_LIMITS] = settings.rate_limits
    app[keys.VOTING] = settings.voting
    app[keys.MARKET_MONITOR] = settings.tasks.market_monitor
    app[keys.MARKET_SETTINGS] = settings.markets
    app[keys.TRANSACTION_SETTINGS] = settings.transactions
    app[keys.CLUSTER] = settings.solana.cluster
    app[keys.HELIUS] = settings.helius


def _install_probes(app: web.Application, core: Core) -> None:
    app[LOOP_LAG] = LoopLag(core.clock)
    app[HEALTH] = Probes(core, app[keys.BEATS], app[LOOP_LAG]).health()


async def _background(core: Core, app: web.Application) -> AsyncIterator[None]:
    """Run the background work: the hub and its beats, the pulse, the inbox, trades that are
    priced anew, transactions that were sent and
    have not ended, WebSockets whose session ends, the check of file descriptors, what is reported and
    delivered about alerts, and the periodic tasks with what prompts them. Clients of all daemons are told
    that they may have missed something.
    """
    settings = core.settings
    totals = VoteTotals(app[keys.HUB], app[keys.LIVE_VOTES], core.database, core.clock)
    async with reporting(
        settings.alerts,
        database=core.database,
        redis=core.redis,
        clock=core.clock,
        counts=partial(_counts, app[WEBSOCKET]),
        lag=app[LOOP_LAG],
        place=place_of(settings.server.port),
        takes_webhooks=WebhookCredentials(settings.helius).configured,
    ) as vitals:
        loops: dict[str, Callable[[], Awaitable[object]]] = {
            "hub": app[keys.HUB].run,
            "beats": app[keys.BEATS].run,
            "vote_totals": totals.run,
            "pulse": _pulse_writer(core).run,
            "gap": core.bus.report_gap,
            "inbox": app[keys.INBOX].run,
            "repricing": Repricer(core.indexer, core.clock).run,
            "adopt": core.sender.adopt,
            "sockets": app[WEBSOCKET].watch_sessions,
            "places": app[WEBSOCKET].keep_places,
            "due": core.due_watch.run,
            "dependencies": app[HEALTH].watch,
            "loop_lag": app[LOOP_LAG].run,
            "descriptors": partial(file_descriptors.watch, core.clock),
            "vitals": vitals.run,
        }
        tasks = [
            asyncio.create_task(_run_with_restarts(name, work, core.clock), name=name)
            for name, work in loops.items()
        ]
        await core.scheduler.start()
        yield
        await core.scheduler.stop()
        await totals.tell_changed()  # those who are kept would see the old ones until the next vote
        await app[WEBSOCKET].leave()
        await app[HEALTH].close()
        await cancel_all(tasks, CANCEL_SECONDS, CANCELLATIONS)


def _counts(websocket: WebSocketEndpoint) -> dict[str, float]:
    """What the rules of alerts count in this process."""
    requests, errors = api_answers()
    return {
        "requests": requests,
        "request_errors": errors,
        "database_failures": FAILURES.total(),
        **websocket.counts(),
    }


def _pulse_writer(core: Core) -> PulseWriter:
    return PulseWriter(
        rpc=core.rpc,
        program_id=core.idl.program_id,
        database=core.database,
        indexer=core.indexer,
        fetcher=core.fetcher,
        clock=core.clock,
        jitter=random.Random(),  # noqa: S311 - it only keeps daemons from running in step
    )


async def _run_with_restarts(name: str, work: Callable[[], Awaitable[object]], clock: Clock) -> None:
    """Run `work` until it returns. Any failure is logged, and `work` starts again.

    Of one that waits for something that is away there is one line, as long as the reason stays the same.
    """
    waits_for = ""
    while not is_being_cancelled():
        try:
            await work()
        except ZmartdError as error:
            if error.message != waits_for:
                log.warning("daemon.work_waits", work=name, reason=error.message)
            waits_for = error.message
            await clock.sleep(RESTART_SECONDS)
        except Exception:
            log.exception("daemon.work_failed", work=name, retry_seconds=RESTART_SECONDS)
            await clock.sleep(RESTART_SECONDS)
        else:
            return


class Daemon:
    """A daemon that listens."""

    def __init__(self, app: web.Application, runner: Runner) -> None:
        self._app = app
        self._runner = runner

    @property
    def reloads(self) -> Reloads:
        """What takes over changed settings."""
        return self._app[RELOADS]

    async def drain(self, seconds: float, keeper: Keeper | None = None) -> None:
        """Serve for so many seconds more, and lose those who are served: /ready says 503, each answer is the
        last on its connection, and clients of streams are sent away one after the other. With `keeper`
        WebSockets are served to the end, and then kept for the next process.
        """
        self._app[HEALTH].is_draining = True
        self._runner.drain()
        await self._app[WEBSOCKET].drain(seconds, keeper if self._runner.hands_over else None)


@asynccontextmanager
async def running(
    settings: Settings, clock: Clock | None = None, sockets: Sockets = NO_SOCKETS
) -> AsyncIterator[Daemon]:
    """Run the daemon for the length of a block. It listens when the block begins, on `sockets` where it has
    been given some, and otherwise on the addresses of the settings.
    """
    server, operator = settings.server, settings.operator
    own_descriptors = OWN_DESCRIPTORS + settings.database.pool_size
    if settings.database.replica_url:
        own_descriptors += settings.database.pool_size + 1
    async with open_core(settings, clock or SystemClock()) as core, AsyncExitStack() as listeners:
        app = application(core)
        limits = connection_limits(server, app[TRUSTED_PROXIES], own_descriptors)
        app[RELOADS].on(
            "server.max_connections",
            "server.max_connections_per_ip",
            apply=lambda new: limits.limit(new.server),
        )
        for kept in sockets.kept:
            await app[WEBSOCKET].take_over(kept, limits)
            kept.close()
        runner = runner_of(app, server, limits)
        await listeners.enter_async_context(
            listening(runner, "server", server.host, server.port, sockets.api)
        )
        if operator.port or sockets.operator:
            operator_app = operator_application(app[HEALTH], server, operator.host, core.clock)
            few = msgspec.structs.replace(server, max_connections=MAX_OPERATOR_CONNECTIONS)
            await listeners.enter_async_context(
                listening(
                    runner_of(operator_app, few, connection_limits(few, trusted_proxies(few, core.clock))),
                    "operator",
                    operator.host,
                    operator.port,
                    sockets.operator,
                )
            )
        log.info("daemon.ready", host=server.host, port=server.port, operator_port=operator.port)
        yield Daemon(app, runner)
        log.info("daemon.stopping")


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    load: Callable[[], Settings],
    manager: ServiceManager = NO_MANAGER,
    sockets: Sockets = NO_SOCKETS,
) -> None:
    """Run the daemon until `stop` is set, and then until those whom it serves have gone; tell `manager`. On
    SIGHUP it takes over what it can of what `load` then gives.
    """
    clock = SystemClock()
    feeding = asyncio.create_task(manager.keep_watchdog_fed(clock), name="watchdog")
    manager.status("opening Postgres, Redis and the chain")
    keeper: ServiceManager | None = None

    def restart() -> None:
        nonlocal keeper
        keeper = manager if manager.is_there else None
        stop.set()

    asyncio.get_running_loop().add_signal_handler(RESTART_SIGNAL, restart)
    try:
        async with running(settings, clock, sockets) as daemon, asyncio.TaskGroup() as reloading:
            if sockets.kept:
                manager.let_go()
            serving = f"serving on {settings.server.host}:{settings.server.port}"

            async def reload() -> None:
                manager.reloading("taking over the configuration")
                await daemon.reloads.reload(load)
                manager.ready(serving)

            asyncio.get_running_loop().add_signal_handler(
                signal.SIGHUP, lambda: reloading.create_task(reload())
            )
            tune_garbage_collection()
            manager.ready(serving)
            await stop.wait()
            manager.stopping("sending clients to other daemons")
            log.info("daemon.draining", seconds=settings.server.drain_seconds)
            await daemon.drain(settings.server.drain_seconds, keeper)
            manager.status("finishing requests and tasks")
    finally:
        feeding.cancel()


def tune_garbage_collection() -> None:
    """Let the garbage collector run, if rarely, and ignore all present objects. Call it after the start.

    A collection before would take longer than a tenth of a second, and frees a few thousand objects.

    Reference counting frees nearly everything that requests and deliveries allocate. With Python's default of
    a collection after 700 objects, the collector took a seventh of the time under load.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, 10, 10)
    gc.enable()


class PortUnavailable(ZmartdError):
    """The daemon cannot listen on its address."""

    code = "port_unavailable"


@asynccontextmanager
async def listening(
    runner: Runner, section: str, host: str, port: int, sockets: Sequence[socket] = ()
) -> AsyncIterator[None]:
    """Let `runner` serve for the length of a block; `section` of the settings has its address.

    `sockets` that listen already are used instead.
    """
    await runner.setup()
    try:
        for one in sockets:
            await web.SockSite(runner, one, backlog=BACKLOG).start()
        try:
            if not sockets:
                await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except OSError as error:
            raise PortUnavailable(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what listens there, or change "
                f"{section}.port"
            ) from error
        yield
    finally:
        await runner.cleanup()


def connection_limits(
    settings: ServerSettings, proxies: TrustedProxies, own_descriptors: int = 0
) -> ConnectionLimits:
    """The limits of a listener. `own_descriptors`: those that are not for its connections."""
    descriptors = file_descriptors.raise_limit() - own_descriptors
    return ConnectionLimits(settings, proxies, SystemClock(), descriptors)


def runner_of(app: web.Application, settings: ServerSettings, limits: ConnectionLimits) -> Runner:
    """The runner of one of the daemon's applications."""
    clock = SystemClock()
    return Runner(
        app,
        limits,
        ConnectionTimeouts(settings, clock),
        clock,
        access_log=None,
        shutdown_timeout=settings.shutdown_seconds,
    )


def trusted_proxies(settings: ServerSettings, clock: Clock) -> TrustedProxies:
    """The proxies of the settings, with the header that they write."""
    return TrustedProxies(settings.trusted_proxies, clock, settings.forwarded_header)


def _address(program: Program, market_id: str) -> str:
    return str(program.pdas.market(bytes.fromhex(market_id)))


def _random_id() -> str:
    return secrets.token_hex(16)
