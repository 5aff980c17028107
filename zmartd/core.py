"""The core: everything that the daemon and the commands need below the API, opened and closed together."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis
from solders.pubkey import Pubkey

from zmartd import dependencies
from zmartd.chain.codec import Codec
from zmartd.chain.idl import Idl
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.transactions import ChainTransaction, RawJson, parse_transaction
from zmartd.clock import Clock
from zmartd.config import Settings
from zmartd.indexer.apply import Indexer
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.plausibility import Plausibility
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import NoPublisher, Publisher, StreamPublisher
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.replica import Replica
from zmartd.tasks.admin_decisions import AdminDecisions
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.base import PeriodicTask
from zmartd.tasks.context import TaskContext
from zmartd.tasks.dry_run import DryRpc, DrySubmitter
from zmartd.tasks.due_watch import JUMPY_LOOK_SECONDS, LOOK_SECONDS, DueWatch
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.plugins import BrokenPlugin, discover
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns
from zmartd.transactions.outbox import DatabaseOutbox
from zmartd.transactions.submission import Submitter


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRuns:
    """The tasks, made with resources that can neither send nor write."""

    tasks: Mapping[str, PeriodicTask]
    broken: Mapping[str, BrokenPlugin]
    context: TaskContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The open resources and services below the API."""

    settings: Settings
    clock: Clock
    database: Database
    replica: Replica
    redis: Redis
    bus: Bus
    publisher: Publisher
    rpc: Rpc
    idl: Idl
    program: Program
    codec: Codec
    parse: Callable[[RawJson], ChainTransaction]
    indexer: Indexer
    fetcher: Fetcher
    outbox: DatabaseOutbox
    sender: Sender
    scheduler: Scheduler
    due_watch: DueWatch
    authorities: tuple[Pubkey, ...]
    """The addresses of the keys that this daemon can sign with as the backend authority: one, or while it is
    replaced two.
    """
    broken_tasks: tuple[BrokenPlugin, ...]


@asynccontextmanager
async def open_core(settings: Settings, clock: Clock) -> AsyncIterator[Core]:
    """Open the core, and close it in reverse order. It connects to nothing before it is used.

    Raises ConfigError or IdlError, which say what to do.
    """
    idl = dependencies.idl_of(settings.solana)
    authority = dependencies.authority_of(settings.solana)
    next_authority = dependencies.next_authority_of(settings.solana)
    dependencies.require_private_tls_keys(settings)
    codec = Codec(idl)
    program = Program(idl, idl.program_id)
    parse = partial(parse_transaction, program_id=idl.program_id, codec=codec)
    async with AsyncExitStack() as stack:
        database = Database(settings.database)
        stack.push_async_callback(database.close)
        replica = Replica(settings.database, clock)
        stack.push_async_callback(replica.close)
        redis = dependencies.open_redis(settings.redis)
        stack.push_async_callback(redis.aclose)
        rpc = await stack.enter_async_context(
            Rpc(
                settings.solana.rpc_url.reveal(), clock=clock, timeout_seconds=settings.solana.timeout_seconds
            )
        )
        bus = Bus(redis, clock)
        publisher = StreamPublisher(bus)
        indexer = Indexer(database, publisher, program.pdas)
        jumps = settings.solana.cluster == "localnet"
        plausibility = Plausibility(rpc.chain_time, clock, jumps=jumps)
        fetcher = Fetcher(rpc, indexer, parse, plausibility)
        outbox = DatabaseOutbox(database, settings.transactions, publisher)
        sender = await stack.enter_async_context(Sender(rpc, outbox, clock, idl))
        context = TaskContext(
            settings=settings.tasks,
            realtime=settings.realtime,
            voting=settings.voting,
            database=database,
            redis=redis,
            publisher=publisher,
            rpc=rpc,
            program=program,
            fetcher=fetcher,
            submitter=Submitter(database, sender, fetcher),
            clock=clock,
            authority=authority,
            next_authority=next_authority,
            network_fees=settings.network_fees,
            alerts=settings.alerts,
            retention=settings.retention,
            transactions=settings.transactions,
            markets=settings.markets,
        )
        authorities = tuple(key.pubkey() for key in (authority, next_authority) if key is not None)
        daemon = f"{socket.gethostname()}:{os.getpid()}"
        discovered = discover(context, tables=settings.plugins)
        turns = Turns(redis, daemon, clock)
        scheduler = Scheduler(
            discovered.tasks, TaskLedger(database, daemon, clock), turns, clock, broken=discovered.broken
        )
        due_watch = DueWatch(
            scheduler.enabled if authorities else (),
            database=database,
            scheduler=scheduler,
            turns=turns,
            chain=plausibility,
            clock=clock,
            monitor=settings.tasks.market_monitor,
            voting=settings.voting,
            look_seconds=JUMPY_LOOK_SECONDS if jumps else LOOK_SECONDS,
        )
        bus.add_observer(due_watch.heard)
        yield Core(
            settings=settings,
            clock=clock,
            database=database,
            replica=replica,
            redis=redis,
            bus=bus,
            publisher=publisher,
            rpc=rpc,
            idl=idl,
            program=program,
            codec=codec,
            parse=parse,
            indexer=indexer,
            fetcher=fetcher,
            outbox=outbox,
            sender=sender,
            scheduler=scheduler,
            due_watch=due_watch,
            authorities=authorities,
            broken_tasks=discovered.broken,
        )


async def require_ready(core: Core) -> None:
    """Check that everything answers that the core depends on: for commands, which do not wait for it.

    Raises DatabaseUnavailable, DatabaseNotReady, RedisUnavailable, RpcUnavailable or WrongProgram; each says
    what to do.
    """
    await core.database.require_usable()
    await dependencies.require_redis(core.redis, core.settings.redis)
    await dependencies.require_program(core.rpc, core.idl.program_id)
    await core.fetcher.plausibility.refresh()


@asynccontextmanager
async def open_for_dry_runs(settings: Settings, clock: Clock) -> AsyncIterator[DryRuns]:
    """Open what it takes to say what the tasks would send, without Redis and without anything that sends.

    Raises what `open_core` and `require_ready` raise.
    """
    idl = dependencies.idl_of(settings.solana)
    authority = dependencies.authority_of(settings.solana)
    next_authority = dependencies.next_authority_of(settings.solana)
    dependencies.require_private_tls_keys(settings)
    program = Program(idl, idl.program_id)
    parse = partial(parse_transaction, program_id=idl.program_id, codec=Codec(idl))
    async with AsyncExitStack() as stack:
        database = await Database.connect(settings.database, read_only=True)
        stack.push_async_callback(database.close)
        rpc = await stack.enter_async_context(
            DryRpc(
                settings.solana.rpc_url.reveal(), clock=clock, timeout_seconds=settings.solana.timeout_seconds
            )
        )
        await dependencies.require_program(rpc, idl.program_id)
        publisher = NoPublisher()
        indexer = Indexer(database, publisher, program.pdas)
        context = TaskContext(
            settings=settings.tasks,
            realtime=settings.realtime,
            voting=settings.voting,
            database=database,
            redis=Redis(unix_socket_path=os.devnull),
            publisher=publisher,
            rpc=rpc,
            program=program,
            fetcher=Fetcher(rpc, indexer, parse, Plausibility(rpc.chain_time, clock)),
            submitter=DrySubmitter(),
            clock=clock,
            authority=authority,
            next_authority=next_authority,
            network_fees=settings.network_fees,
            alerts=settings.alerts,
            retention=settings.retention,
            transactions=settings.transactions,
            markets=settings.markets,
        )
        discovered = discover(context, tables=settings.plugins)
        yield DryRuns(
            tasks={task.name: task for task in discovered.tasks},
            broken={plugin.name: plugin for plugin in discovered.broken},
            context=context,
        )


def admin_decisions(core: Core, rpc: Rpc) -> AdminDecisions:
    """The service that records admins' decisions. `rpc` is the API's share, or the core's own."""
    return AdminDecisions(
        core.database,
        rpc,
        core.program,
        Announcements(core.database, core.publisher),
        core.settings.voting.trusted_resolvers,
    )
