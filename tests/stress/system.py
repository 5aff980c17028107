"""The real stack, each part of it where a fault can reach it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
from redis.asyncio import Redis
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.ports import free_port
from tests.stress.postbox import Postbox
from tests.stress.proxy import Proxy
from tests.stress.waiting import until
from zmartd import config, config_file
from zmartd.clock import SystemClock
from zmartd.commands.dev_stack import AUTHORITY_LAMPORTS, TREASURY_LAMPORTS
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, SharedSecret
from zmartd.embedded.chain import PROGRAM_ID, EmbeddedChain, chain_settings
from zmartd.embedded.localnet.settings import WebhookTarget
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.process import child_setup
from zmartd.embedded.program_setup import initialize_program
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.faults import Point
from zmartd.http.auth.signing_secrets import audience_of
from zmartd.http.auth.tokens import Tokens
from zmartd.indexer.plausibility import JUMPS_SECONDS
from zmartd.private_file import write_private
from zmartd.store.postgres.migrations import migrate
from zmartd.task_settings import (
    MarketMonitorSettings,
    ReconcilerSettings,
    TaskSettings,
    VoteAggregatorSettings,
)

SLOT_MILLISECONDS = 150
START_SECONDS = 600.0
DIE_SECONDS = 600.0
STOP_SECONDS = 200.0
WALLET_LAMPORTS = 10**15
DUE_SECONDS = 4 * 86_400
_ROOT = Path(__file__).parents[2]
_AUTH = config.AuthSettings(jwt_secret=SharedSecret("the session key of the stress rig, 32 and more"))
_SECRET = "a webhook secret of the stress rig"


class Daemon:
    """`zmartd serve` as a process of its own, started, killed and started again."""

    def __init__(self, directory: Path, name: str) -> None:
        """`directory` has its settings, under its name, and its log."""
        self.port = free_port(neighbours=2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.operator_url = f"http://127.0.0.1:{self.port + 1}"
        self.configuration = directory / f"{name}.toml"
        self.log = directory / f"{name}.log"
        armed = (sys.executable, "-m", "tests.stress.armed")
        self._command = [*armed, "serve", "--config", str(self.configuration)]
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._orders_taken = 0
        self.log_is_read = True
        """Whether the next process that is started finds somebody who reads its log."""
        self._unread: int | None = None
        self.reached: set[Point] = set()
        """Every point that any of these processes has reached."""
        self.starts = 0

    async def start(self) -> None:
        """Start it and wait until it answers; when it ends instead, start it again, as systemd does.

        Raises TimeoutError.
        """
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session:

            async def answers() -> bool:
                if not self.runs:
                    await self.launch()
                try:
                    async with session.get(f"{self.url}/health") as response:
                        return response.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    return False

            await until(answers, START_SECONDS, f"the daemon was not ready, see {self.log}:")

    async def launch(self) -> None:
        """Start the process, and wait for nothing."""
        self._orders_taken = 0
        self.starts += 1
        with self.log.open("ab") if self.log_is_read else self._nobody() as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=_ROOT,
                preexec_fn=child_setup(signal.SIGKILL),
            )
        self._listening = asyncio.create_task(self._listen(self._process))

    def _nobody(self) -> IO[bytes]:
        """A pipe that takes a page, and that nobody reads."""
        self._unread, writes = os.pipe()
        fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4_096)
        return os.fdopen(writes, "wb")

    async def set_clock_ahead(self, seconds: float) -> None:
        """Set the clock of the process that runs so far ahead."""
        await self._order(f"clock {seconds}")

    async def kill_at(self, point: Point, times: int = 1) -> None:
        """Order it to kill itself when it reaches `point` for the `times`th time from now on."""
        await self._order(f"kill {point} {times}")

    async def _order(self, order: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        before = self._orders_taken
        self._process.stdin.write(f"{order}\n".encode())
        await self._process.stdin.drain()

        async def taken() -> bool:
            return self._orders_taken > before

        await until(taken, START_SECONDS, "the daemon took no order")

    async def until_killed(self, seconds: float = DIE_SECONDS) -> None:
        """Raises TimeoutError when it lives on, RuntimeError when it ended in another way."""
        assert self._process is not None
        try:
            status = await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            raise TimeoutError(f"the daemon did not reach the point within {seconds:g} s") from None
        if status != -signal.SIGKILL:
            raise RuntimeError(f"the daemon ended with {status} instead of being killed; see {self.log}")

    async def kill(self) -> None:
        """kill -9, wherever it is."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is; it keeps all of its connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Have it read its settings again."""
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """End it in order, if it runs; kill it when it takes too long."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                await self.kill()
        if self._listening is not None:
            await self._listening

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            match line.decode().split():
                case ["reached", point]:
                    self.reached.add(Point(point))
                case ["ordered", *_]:
                    self._orders_taken += 1


class System:
    """Postgres, Valkey and a chain; a daemon that sees all of them only through doors that can be shut."""

    def __init__(self, directory: Path, wallets: Sequence[Pubkey]) -> None:
        """`wallets` get so much that they never run out."""
        self.directory = directory
        self._wallets = wallets
        self.authority = Keypair()
        self.treasury = Keypair()
        self.program_id = Pubkey.from_string(PROGRAM_ID)
        self.postgres = EmbeddedPostgres(directory / "postgres")
        self.valkey = EmbeddedValkey(directory / "valkey")
        self.database_door = Proxy(lambda: _postgres_socket(self.postgres.dsn))
        self.redis_door = Proxy(lambda: self._valkey_socket)
        self._valkey_socket: Path | None = None
        self.daemon = Daemon(directory, "zmartd")
        self.daemons = [self.daemon]
        self.postbox = Postbox(f"{self.api}/helius/webhook")
        self._reconciling = True
        self._rpc_port = free_port(neighbours=2)
        self.chain: EmbeddedChain

    @property
    def rpc_url(self) -> str:
        return self.chain.endpoints.rpc_url

    @property
    def api(self) -> str:
        return self.daemon.url

    def tokens(self) -> Tokens:
        """Sessions' tokens as the daemons make them."""
        audience = audience_of("localnet", str(self.program_id))
        return Tokens(_AUTH, audience, SystemClock(), lambda: secrets.token_hex(16))

    @property
    def server_ports(self) -> frozenset[int]:
        """Where daemons find their servers."""
        return frozenset({self.database_door.port, self.redis_door.port, self._rpc_port, self._rpc_port + 1})

    async def start(self, stack: AsyncExitStack) -> None:
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        await stack.enter_async_context(self.postgres)
        stack.push_async_callback(self.stop_valkey)
        await self.start_valkey()
        for door in (self.database_door, self.redis_door, self.postbox):
            await door.open()
            stack.push_async_callback(door.close)
        webhook = WebhookTarget(self.postbox.url, (PROGRAM_ID,), _SECRET)
        self.chain = EmbeddedChain(
            msgspec.structs.replace(
                chain_settings(self.directory / "chain", self._rpc_port, slot_milliseconds=SLOT_MILLISECONDS),
                webhooks=(webhook,),
                genesis_accounts={
                    str(self.authority.pubkey()): AUTHORITY_LAMPORTS,
                    str(self.treasury.pubkey()): TREASURY_LAMPORTS,
                }
                | dict.fromkeys(map(str, self._wallets), WALLET_LAMPORTS),
            )
        )
        await stack.enter_async_context(self.chain)
        await migrate(self.postgres.dsn)
        await initialize_program(self.rpc_url, self.program_id, self.authority, self.treasury.pubkey())
        write_private(self.directory / "authority.json", self.authority.to_json())
        await self._start_daemon(self.daemon, stack)

    async def start_another_daemon(self, stack: AsyncExitStack) -> Daemon:
        """On the same database, Redis and chain. The webhook is only the first one's."""
        daemon = Daemon(self.directory, f"zmartd-{len(self.daemons) + 1}")
        self.daemons.append(daemon)
        await self._start_daemon(daemon, stack)
        return daemon

    async def _start_daemon(self, daemon: Daemon, stack: AsyncExitStack) -> None:
        self.configure(reconciling=self._reconciling)
        stack.push_async_callback(daemon.stop)
        await daemon.start()

    def configure(self, *, reconciling: bool = True) -> None:
        """Write the settings that the daemons read when they start the next time.

        Without the reconciler, all that the index knows came through the inbox, or from its own senders.
        """
        self._reconciling = reconciling
        for daemon in self.daemons:
            write_private(daemon.configuration, config_file.to_toml(self._settings(daemon)))

    async def cheat(self, method: str, *params: Any) -> Any:
        """Call a method of the chain, one of its own ones among them."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session,
            session.post(self.rpc_url, json=request) as response,
        ):
            answer = await response.json()
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def let_days_pass(self) -> None:
        """Move the chain's clock until every market that is resolved or disputed by now is due.

        Returns when a delivery from then on has the daemon ask for the time again: one that came before would
        be of its future, and wait for a reconciler.
        """
        clock = await self.cheat("getBlockTime", await self.cheat("getSlot", {"commitment": "confirmed"}))
        await self.cheat("surfnet_timeTravel", {"absoluteTimestamp": (clock + DUE_SECONDS) * 1_000})
        await asyncio.sleep(JUMPS_SECONDS)

    async def forget_leases(self) -> None:
        """Give back what daemons that died had leased of limits, each a tenth of a minute's.

        A quick machine kills more than ten in a minute, which nobody else does.
        """
        redis = Redis(unix_socket_path=str(self._valkey_socket))
        async with redis:
            async for key in redis.scan_iter("rate:*", count=1_000):
                await redis.delete(key)

    async def mend(self) -> None:
        """Put everything right, whatever is broken."""
        await self.cheat("zmartd_setFaults", {})
        for door in (self.database_door, self.redis_door):
            door.spare()
            door.go_on()
            await door.open()
        for daemon in self.daemons:
            await daemon.stop()
        await self.postgres.stop()
        await self.postgres.start()
        await self.stop_valkey()
        await self.start_valkey()
        for daemon in self.daemons:
            await daemon.start()

    async def crash_postgres(self) -> None:
        """kill -9 of the server; its children notice and end."""
        os.kill(self.postgres.pid, signal.SIGKILL)
        await self.postgres.stop()

    async def crash_valkey(self) -> None:
        os.kill(self.valkey.pid, signal.SIGKILL)
        await self.stop_valkey()

    async def stop_valkey(self) -> None:
        self._valkey_socket = None
        await self.valkey.stop()

    async def start_valkey(self) -> None:
        await self.valkey.start()
        self._valkey_socket = Path(urlsplit(self.valkey.url).path)

    def _settings(self, daemon: Daemon) -> config.Settings:
        """Short intervals and short patience, so that a fault is met often and soon over."""
        return config.Settings(
            server=config.ServerSettings(
                port=daemon.port, environment="development", drain_seconds=0.0, shutdown_seconds=3.0
            ),
            operator=config.OperatorSettings(port=daemon.port + 1),
            realtime=config.RealtimeSettings(
                max_connections_per_ip=10_000, max_messages_per_minute=1_000_000
            ),
            database=config.DatabaseSettings(
                url=PostgresUrl(
                    f"postgresql://zmartd@127.0.0.1:{self.database_door.port}/zmartd?sslmode=disable"
                ),
                statement_timeout_seconds=3.0,
            ),
            redis=config.RedisSettings(url=RedisUrl(f"redis://127.0.0.1:{self.redis_door.port}/0")),
            solana=config.SolanaSettings(
                rpc_url=RpcUrl(self.rpc_url),
                cluster="localnet",
                authority_keypair_path=str(self.directory / "authority.json"),
                timeout_seconds=4.0,
            ),
            helius=config.HeliusSettings(authorization=SharedSecret(_SECRET)),
            auth=msgspec.structs.replace(_AUTH, domains=(f"127.0.0.1:{daemon.port}",)),
            rate_limits=config.AMPLE_RATE_LIMITS,
            voting=config.VotingSettings(
                min_proposal_votes=3, proposal_min_balance_lamports=0, veto_seconds=0
            ),
            tasks=TaskSettings(
                vote_aggregator=VoteAggregatorSettings(every_seconds=0.5),
                market_monitor=MarketMonitorSettings(every_seconds=1.0),
                reconciler=ReconcilerSettings(enabled=self._reconciling, every_seconds=1.0),
            ),
            log=config.LogSettings(level="warning", format="console"),
        )


@asynccontextmanager
async def running(directory: Path, wallets: Sequence[Pubkey]) -> AsyncIterator[System]:
    """The system for the length of a block. `directory` is absolute. It leaves no process behind."""
    async with AsyncExitStack() as stack:
        system = System(directory, wallets)
        await system.start(stack)
        yield system


def _postgres_socket(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0]) / ".s.PGSQL.5432"
