"""Runs a localnet: a bank, its slots, HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web
from solders.pubkey import Pubkey

from zmartd.clock import Clock, SystemClock
from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.ledger import Ledger, LedgerInUse
from zmartd.embedded.localnet.faults import FaultPlan
from zmartd.embedded.localnet.http import HttpHandler
from zmartd.embedded.localnet.methods.accounts import AccountMethods
from zmartd.embedded.localnet.methods.blocks import BlockMethods
from zmartd.embedded.localnet.methods.cheatcodes import CheatcodeMethods
from zmartd.embedded.localnet.methods.cluster import ClusterMethods
from zmartd.embedded.localnet.methods.node import NodeMethods
from zmartd.embedded.localnet.methods.supply import SupplyMethods
from zmartd.embedded.localnet.methods.transactions import TransactionMethods
from zmartd.embedded.localnet.settings import Endpoints, LocalnetSettings
from zmartd.embedded.localnet.subscriptions import Subscriptions
from zmartd.embedded.localnet.webhooks import Webhooks
from zmartd.embedded.localnet.websocket import WebSocketHandler
from zmartd.errors import ZmartdError
from zmartd.log import get_logger

LEDGER_FILE = "ledger.sqlite3"
MAX_RPC_PORT = 65_534
"""The WebSocket listens on the next port."""
_ANY_PORT = range(10_000, 30_000)
"""Below the ports of outgoing connections, of which many leave no two free beside each other: 32768 and up on
Linux, elsewhere 49152."""
GRACE_SECONDS = 2.0
_RETRY_SECONDS = 0.05
log = get_logger(__name__)


class LocalnetError(ZmartdError):
    """The localnet could not be started."""

    code = "localnet_failed"


async def serve(
    settings: LocalnetSettings,
    *,
    ready: Callable[[Endpoints], None] | None = None,
    stop: asyncio.Event,
    clock: Clock | None = None,
) -> None:
    """Run a localnet until `stop` is set; `ready` is called once it answers.

    Raises LocalnetError, LedgerError or RuntimePanic when it cannot start, and LedgerError when the ledger
    cannot be written any more (a full disk): what was answered is in it, so that a restart continues.
    """
    async with _started(settings, clock or SystemClock()) as (endpoints, slots):
        if ready is not None:
            ready(endpoints)
        stopped = asyncio.create_task(stop.wait(), name="localnet-stop")
        try:
            await asyncio.wait((stopped, slots), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if slots.done():
            slots.result()


@asynccontextmanager
async def running(settings: LocalnetSettings, *, clock: Clock | None = None) -> AsyncIterator[Endpoints]:
    """A localnet for the length of a block. Raises LocalnetError, LedgerError or RuntimePanic as `serve`."""
    async with _started(settings, clock or SystemClock()) as (endpoints, _):
        yield endpoints


@asynccontextmanager
async def _started(
    settings: LocalnetSettings, clock: Clock
) -> AsyncIterator[tuple[Endpoints, asyncio.Task[None]]]:
    if settings.slot_milliseconds < 1:
        raise LocalnetError(f"slot_milliseconds must be at least 1, not {settings.slot_milliseconds}")
    if not 0 <= settings.rpc_port <= MAX_RPC_PORT:
        raise LocalnetError(f"rpc_port must be 0 to {MAX_RPC_PORT}, not {settings.rpc_port}")
    async with AsyncExitStack() as stack:
        rpc_socket, ws_socket = await _adjacent_sockets(settings.host, settings.rpc_port, clock)
        stack.callback(rpc_socket.close)
        stack.callback(ws_socket.close)
        endpoints = Endpoints(settings.host, rpc_socket.getsockname()[1], ws_socket.getsockname()[1])
        ledger = await _ledger(settings.data_directory / LEDGER_FILE, clock)
        stack.callback(ledger.close)
        bank = _bank(settings, ledger, clock)
        faults = FaultPlan()
        webhooks = await stack.enter_async_context(_webhooks(settings, faults, clock))
        subscriptions = Subscriptions(bank, asyncio.get_running_loop().call_soon)
        bank.observe(subscriptions)
        bank.observe(webhooks)
        methods = {
            **AccountMethods(bank).table(),
            **BlockMethods(bank, faults).table(),
            **ClusterMethods(bank, endpoints).table(),
            **NodeMethods(bank).table(),
            **SupplyMethods(bank).table(),
            **TransactionMethods(bank, faults).table(),
            **CheatcodeMethods(bank, faults, webhooks).table(),
        }
        websockets = WebSocketHandler(subscriptions, ledger)
        http = HttpHandler(methods, faults, websockets)
        stack.push_async_callback(await _listen(http.application(), rpc_socket))
        stack.push_async_callback(await _listen(websockets.application(), ws_socket))
        stack.push_async_callback(http.close)
        stack.push_async_callback(websockets.close)
        slots = asyncio.create_task(_produce_slots(bank, clock), name="localnet-slots")
        stack.push_async_callback(_cancelled, slots)
        log.info("localnet.ready", rpc=endpoints.rpc_url, ws=endpoints.ws_url, slot=bank.blocks.opened.slot)
        yield endpoints, slots


def _webhooks(settings: LocalnetSettings, faults: FaultPlan, clock: Clock) -> Webhooks:
    try:
        return Webhooks(settings.webhooks, faults, clock)
    except ValueError as error:
        raise LocalnetError(f"a webhook of the localnet cannot be used: {error}") from error


def _bank(settings: LocalnetSettings, ledger: Ledger, clock: Clock) -> Bank:
    try:
        return Bank(
            ledger,
            clock,
            {Pubkey.from_string(program): path for program, path in settings.programs.items()},
            settings.slot_milliseconds,
            {Pubkey.from_string(a): lamports for a, lamports in settings.genesis_accounts.items()},
        )
    except OSError as error:
        raise LocalnetError(f"a program of the localnet cannot be loaded: {error}") from error
    except ValueError as error:
        raise LocalnetError(f"a program or genesis account is not a base58 address: {error}") from error


async def _produce_slots(bank: Bank, clock: Clock) -> None:
    """Complete slots at their interval. Time during which the process did not run is skipped."""
    seconds = bank.slot_milliseconds / 1000
    due = clock.monotonic() + seconds
    while True:
        await clock.sleep(max(0.0, due - clock.monotonic()))
        bank.complete_slot()
        due = max(due + seconds, clock.monotonic())


async def _listen(application: web.Application, listening: socket.socket) -> Callable[[], Awaitable[None]]:
    """Serve on a bound socket; a function that stops it."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner.cleanup


async def _ledger(file: Path, clock: Clock) -> Ledger:
    """Open the ledger in `file`. Waits for another localnet that is stopping. Raises LedgerError."""
    patient_until = clock.monotonic() + GRACE_SECONDS
    while True:
        try:
            return Ledger(file)
        except LedgerInUse:
            if clock.monotonic() > patient_until:
                raise
        await clock.sleep(_RETRY_SECONDS)


async def _adjacent_sockets(host: str, rpc_port: int, clock: Clock) -> tuple[socket.socket, socket.socket]:
    """Two sockets bound to adjacent ports. Raises LocalnetError when the ports stay in use.

    Another localnet that is stopping may still use them, so it tries again for a while.
    """
    patient_until = clock.monotonic() + GRACE_SECONDS
    while True:
        try:
            return _bound_pair(host, rpc_port)
        except LocalnetError:
            if clock.monotonic() > patient_until:
                raise
        await clock.sleep(_RETRY_SECONDS if rpc_port else 0.0)


def _bound_pair(host: str, rpc_port: int) -> tuple[socket.socket, socket.socket]:
    first = _bound(host, rpc_port or secrets.choice(_ANY_PORT))
    try:
        return first, _bound(host, first.getsockname()[1] + 1)
    except LocalnetError:
        first.close()
        raise


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise LocalnetError(
            f"the localnet cannot listen on {host}:{port}: {error}. "
            "Stop what listens there, or choose another port"
        ) from error
    return listening


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
