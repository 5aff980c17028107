"""Answers from a real streaming replica that lags, hangs, breaks and is promoted: callers do not notice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace
from solders.keypair import Keypair

from tests.debian_packages import NotToBeHad
from tests.event_loop import run
from tests.integration.http.rest.rest_api import NOWHERE, WEBHOOK, Api, Caller, running_api
from tests.integration.http.served import StandingClock
from tests.integration.store.rows import NOON, insert_market, insert_trade, market_id, wallet
from tests.patience import SECONDS, patient_database
from tests.pgbouncer import PgBouncer
from tests.ports import free_port
from tests.shared_secrets import shared_secret
from tests.streaming import ask, following, streaming_primary
from zmartd import daemon
from zmartd.clock import Clock, SystemClock
from zmartd.config import (
    AuthSettings,
    DatabaseSettings,
    OperatorSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    SolanaSettings,
)
from zmartd.config_values import RedisUrl, ReplicaUrl, RpcUrl, SharedSecret
from zmartd.doctor import postgres as postgres_checks
from zmartd.doctor import replica as replica_checks
from zmartd.doctor.check import Finding
from zmartd.doctor.examination import examine
from zmartd.embedded.postgres import DATABASE, EmbeddedPostgres
from zmartd.http.kit import keys
from zmartd.http.kit.identity import ANONYMOUS
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.kit.replica_reads import READS
from zmartd.http.routes import OPERATIONS
from zmartd.http.trading.trade_lists import TradesQuery
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.messages import Message, PriceUpdate
from zmartd.store import streams
from zmartd.store.postgres import wal_position
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.store.postgres.replica import Replica
from zmartd.store.postgres.replica_errors import ReplicaBehind, ReplicaConflict, ReplicaUnusable
from zmartd.store.postgres.rls import ANYBODY

SOON = 0.05
"""For those who are to wait in vain."""
TRADES_BEFORE = 250
ALICE = Keypair.from_seed(bytes([41] * 32))
MARKET = market_id("traded")
DECLARED = [one for one in OPERATIONS if one.from_replica]
COMMENTS = f"/api/discussions/{MARKET}"
TRADES = f"/api/markets/{MARKET}/trades"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres with one market in it, in which there have been TRADES_BEFORE trades."""
    server = streaming_primary(tmp_path_factory.mktemp("primary") / "postgres")
    run(server.start())
    run(_filled(server))
    yield server
    run(server.stop())


async def _filled(server: EmbeddedPostgres) -> None:
    await migrate(server.dsn)
    database = await Database.connect(patient_database(server.dsn))
    async with database.service() as connection:
        await insert_market(connection, "traded", state=MarketState.ACTIVE)
        for number in range(TRADES_BEFORE):
            await insert_trade(connection, f"trade {number}", MARKET, wallet("trader"), block_time=NOON)
    await database.close()


@pytest.fixture(scope="module")
def _standby(
    primary: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedPostgres]:
    stack = AsyncExitStack()
    directory = tmp_path_factory.mktemp("standby") / "postgres"
    yield run(stack.enter_async_context(following(primary, directory)))
    run(stack.aclose())


@pytest.fixture
async def standby(_standby: EmbeddedPostgres) -> AsyncIterator[EmbeddedPostgres]:
    """A replica, which goes on with its replay after the test."""
    yield _standby
    await resume(_standby)


async def pause(standby: EmbeddedPostgres) -> None:
    """Let a replica lag, until `resume`."""
    await ask(standby, "select pg_wal_replay_pause()")
    async with asyncio.timeout(SECONDS):
        while await ask(standby, "select pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def resume(standby: EmbeddedPostgres) -> None:
    await ask(standby, "select pg_wal_replay_resume()")


def settings(primary: str, replica: str) -> DatabaseSettings:
    return replace(patient_database(primary), replica_url=ReplicaUrl(replica))


@asynccontextmanager
async def opened(
    primary: str, replica: str, clock: Clock | None = None, patience_seconds: float = SECONDS
) -> AsyncIterator[Replica]:
    one = Replica(
        settings(primary, replica),
        clock or SystemClock(),
        patience_seconds=patience_seconds,
        look_seconds=SECONDS,
        read_seconds=SECONDS,
    )
    yield one
    await one.close()


@asynccontextmanager
async def serving(
    primary: EmbeddedPostgres, replica: str, redis_url: str, **options: Any
) -> AsyncIterator[Api]:
    """A daemon's API with a replica, which hears what others announce."""
    async with opened(primary.dsn, replica, **options) as one:
        database = await Database.connect(settings(primary.dsn, replica))
        async with running_api(database, redis_url, replica=one) as api:
            yield api
        await database.close()


def outcomes() -> dict[str, int]:
    return {
        name: READS.labels(name).value
        for name in ("replica", "away", "behind", "conflict", "slow", "unknown")
    }


@contextmanager
def reads(**expected: int) -> Iterator[None]:
    """In the block exactly these answers are given: so many from the replica, others from the primary."""
    before = outcomes()
    yield
    counted = {name: number - before[name] for name, number in outcomes().items()}
    assert {name: number for name, number in counted.items() if number} == expected


def path_of(operation: Operation[Any]) -> str:
    return operation.path.format(id=MARKET, wallet=str(ALICE.pubkey()))


async def until(caller: Caller, outcome: str, path: str = TRADES, clock: StandingClock | None = None) -> None:
    """Ask until an answer has this outcome, and let time pass on `clock` meanwhile."""
    async with asyncio.timeout(SECONDS):
        while True:
            before = outcomes()[outcome]
            answer = await caller.get(path)
            assert answer.status == 200
            if outcomes()[outcome] > before:
                return
            await asyncio.sleep(0.02)
            if clock is not None:
                clock.seconds += 0.1


async def trade(database: Database, name: str) -> None:
    """Commit one more trade, and tell nobody."""
    async with database.service() as connection:
        await insert_trade(connection, name, MARKET, wallet("trader"), block_time=NOON)
        await connection.execute("update markets set trades_count = trades_count + 1 where id = $1", MARKET)


def announcement() -> Message:
    price = PriceUpdate(price_yes=500_000_000, shares_yes=1, shares_no=1)
    return Message(MARKET, price, NOON, "confirmed")


async def test_lists_history_and_candles_are_read_from_the_replica_and_are_the_same(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, redis_url: str
) -> None:
    async with serving(primary, standby.dsn, redis_url) as api:
        await until(api.anybody, "replica")
        bodies = {}
        with reads(replica=len(DECLARED)):
            for operation in DECLARED:
                answer = await api.as_wallet(ALICE).get(path_of(operation))
                assert answer.status == 200, answer.body
                bodies[operation.path] = answer.body
    database = await Database.connect(patient_database(primary.dsn))
    async with running_api(database, redis_url) as api:
        for operation in DECLARED:
            assert (await api.as_wallet(ALICE).get(path_of(operation))).body == bodies[operation.path]
    await database.close()
    assert len(DECLARED) > 12


async def test_a_wallet_sees_what_it_has_written_whichever_daemon_it_asks(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, redis_url: str
) -> None:
    clock = StandingClock()
    async with (
        serving(primary, standby.dsn, redis_url) as one,
        serving(primary, standby.dsn, redis_url, clock=clock, patience_seconds=SOON) as other,
    ):
        await until(other.as_wallet(ALICE), "replica", COMMENTS, clock)
        await pause(standby)
        posted = await one.as_wallet(ALICE).post(COMMENTS, {"content": "I was here."})
        assert posted.status == 201, posted.body
        with reads(replica=1):
            assert (await other.anybody.get(COMMENTS)).body["total"] == 0
        with reads(behind=1):
            assert (await other.as_wallet(ALICE).get(COMMENTS)).body["total"] == 1
        await resume(standby)
        await until(other.as_wallet(ALICE), "replica", COMMENTS, clock)
        assert (await other.as_wallet(ALICE).get(COMMENTS)).body["total"] == 1


async def test_what_was_announced_is_in_every_later_answer_of_who_has_heard_it(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, redis_url: str
) -> None:
    clock, heard = StandingClock(), asyncio.Event()
    async with (
        serving(primary, standby.dsn, redis_url) as one,
        serving(primary, standby.dsn, redis_url, clock=clock, patience_seconds=SOON) as other,
    ):
        await until(other.anybody, "replica", clock=clock)
        before = (await other.anybody.get(TRADES)).body["total"]
        await pause(standby)
        await trade(one.database, "announced")
        with reads(replica=1):
            assert (await other.anybody.get(TRADES)).body["total"] == before

        async def listen() -> None:
            async for item in other.bus.listen():
                if isinstance(item, Message):
                    heard.set()
                elif other.bus.is_listening:
                    await one.bus.publish([announcement()])

        listening = asyncio.create_task(listen())
        async with asyncio.timeout(SECONDS):
            await heard.wait()
        listening.cancel()
        with reads(behind=2):
            assert (await other.anybody.get(TRADES)).body["total"] == before + 1
            assert (await other.anybody.get(TRADES)).body["total"] == before + 1
        await resume(standby)
        await until(other.anybody, "replica", clock=clock)
        assert (await other.anybody.get(TRADES)).body["total"] == before + 1


async def test_what_nobody_announced_is_in_every_answer_after_a_second(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, redis_url: str
) -> None:
    clock = StandingClock()
    async with serving(primary, standby.dsn, redis_url, clock=clock, patience_seconds=SOON) as api:
        await until(api.anybody, "replica", clock=clock)
        before = (await api.anybody.get(TRADES)).body["total"]
        await pause(standby)
        await trade(api.database, "in silence")
        clock.seconds += 0.9
        with reads(replica=1):
            assert (await api.anybody.get(TRADES)).body["total"] == before
        clock.seconds += 0.2
        with reads(behind=1):
            assert (await api.anybody.get(TRADES)).body["total"] == before + 1


async def test_a_replica_that_breaks_is_left_alone_until_it_is_there_again(
    primary: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        standby = await stack.enter_async_context(following(primary, tmp_path / "broken"))
        async with serving(primary, standby.dsn, redis_url) as api:
            await until(api.anybody, "replica")
            operation = next(one for one in DECLARED if one.path == "/api/markets/{id}/trades")
            app = web.Application()
            app[keys.DATABASE] = api.database
            call: Call[Any] = Call(
                make_mocked_request("GET", TRADES, app=app),
                TradesQuery(limit=TRADES_BEFORE),
                {"id": MARKET},
                ANONYMOUS,
            )
            async with opened(primary.dsn, standby.dsn) as replica:
                call.replica = await replica.source()
                assert operation.export is not None
                rows = await operation.export.read(call)
                exported = list(await anext(rows.batches))
                assert call.database is not api.database
                await standby.stop()
                exported += [row async for batch in rows.batches for row in batch]
                assert call.database is api.database
            assert len({getattr(row, "tx_signature", None) for row in exported}) == TRADES_BEFORE
            with reads(away=3):
                for _ in range(3):
                    assert (await api.anybody.get(TRADES)).status == 200
            await standby.start()
            await until(api.anybody, "replica")


async def test_a_replica_that_hangs_holds_nobody_up(
    primary: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    async with (
        following(primary, tmp_path / "frozen") as standby,
        serving(primary, standby.dsn, redis_url) as api,
        opened(primary.dsn, standby.dsn, patience_seconds=SOON) as replica,
    ):
        await until(api.anybody, "replica")
        replica.read_seconds = SOON
        await replica.require_usable()
        source = await replica.source()
        frozen = [standby.pid, *_children(standby.pid)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ReplicaUnusable) as slow:
                async with source.reader(ANYBODY) as reader:
                    await reader.fetchval("select 1")
            assert slow.value.reason == "slow"
            with pytest.raises(ReplicaBehind):
                await replica.source()
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        replica.read_seconds = SECONDS
        async with asyncio.timeout(SECONDS):
            while True:
                with suppress(ReplicaUnusable):
                    async with (await replica.source()).reader(ANYBODY) as reader:
                        assert await reader.fetchval("select pg_is_in_recovery()")
                    break
                await asyncio.sleep(0.01)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_only_a_replica_of_this_database_that_follows_this_primary_is_read_from(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    async with following(primary, tmp_path / "promoted") as promoted:
        async with opened(primary.dsn, promoted.dsn) as replica:
            source = await replica.source()
            await ask(promoted, "select pg_promote()")
            with pytest.raises(ReplicaBehind):
                async with source.reader(ANYBODY) as reader:
                    await reader.fetchval("select 1")
            with pytest.raises(ReplicaBehind):
                async with source.caller(ANYBODY):
                    pytest.fail("it is no replica any more")
            with pytest.raises(ReplicaUnusable, match="no standby, or was promoted"):
                await replica.require_usable()
            with pytest.raises(ReplicaUnusable, match="no standby, or was promoted"):
                await replica.source()
            with reads(away=1):
                async with running_api(
                    await Database.connect(patient_database(primary.dsn)), redis_url, replica=replica
                ) as api:
                    assert (await api.anybody.get(TRADES)).status == 200
                    await api.database.close()
        async with opened(promoted.dsn, standby.dsn) as replica:
            with pytest.raises(ReplicaUnusable, match="on timeline 1, and the primary on 2"):
                await replica.source()
        async with opened(standby.dsn, standby.dsn) as replica:
            with pytest.raises(ReplicaUnusable, match=r"database\.url leads to a standby"):
                await replica.source()
    async with opened(primary.dsn, standby.dsn_of("postgres")) as replica:
        with pytest.raises(ReplicaUnusable, match="no replica of this database"):
            await replica.require_usable()
    async with opened(primary.dsn, "postgresql://zmartd:secret@127.0.0.1:1/zmartd") as replica:
        with pytest.raises(ReplicaUnusable, match=r"127\.0\.0\.1:1.*database\.replica_url") as away:
            await replica.require_usable()
        assert "secret" not in str(away.value)


async def test_a_read_that_stands_in_the_way_of_the_replay_is_done_at_the_primary(
    primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with following(primary, tmp_path / "hasty") as standby, opened(primary.dsn, standby.dsn) as replica:
        await ask(standby, "alter system set max_standby_streaming_delay = 0")
        await ask(standby, "select pg_reload_conf()")
        source = await replica.source()

        async def read() -> None:
            async with source.service_reader() as reader:
                await reader.fetchval("select pg_sleep(600) from trades limit 1")

        reading = asyncio.create_task(read())
        connection = await asyncpg.connect(primary.dsn)
        async with asyncio.timeout(SECONDS):
            while not reading.done():
                await connection.execute(
                    "update trades set slot = slot where id = (select min(id) from trades)"
                )
                await connection.execute("vacuum trades")
                await asyncio.sleep(0.05)
        await connection.close()
        with pytest.raises(ReplicaConflict):
            await reading
        async with (await replica.source()).service_reader() as reader:
            assert await reader.fetchval("select count(*) from trades") >= TRADES_BEFORE


async def test_a_replica_is_read_from_through_a_transaction_pooler(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    try:
        pooler = PgBouncer(tmp_path / "pooler", standby, default_pool_size="2")
    except NotToBeHad as error:
        pytest.skip(str(error))
    async with (
        pooler,
        serving(primary, pooler.url_of(DATABASE), redis_url) as api,
        opened(primary.dsn, pooler.url_of(DATABASE), patience_seconds=SOON) as hasty,
    ):
        await until(api.anybody, "replica")
        with reads(replica=3):
            for path in (TRADES, "/api/markets", f"/api/markets/{MARKET}/candles"):
                assert (await api.as_wallet(ALICE).get(path)).status == 200
        await hasty.require_usable()
        source = await hasty.source()
        async with source.reader(ANYBODY) as reader:
            assert await reader.fetchval("select current_user::text") == "anon"
        await pause(standby)
        await ask(primary, "select pg_logical_emit_message(true, 'zmartd', '')")
        hasty.log.announced()
        with pytest.raises(ReplicaBehind):
            await hasty.source()


async def test_a_replica_can_be_taken_away_and_given_while_the_daemon_runs(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    async with opened(primary.dsn, standby.dsn) as replica:
        await replica.source()
        assert replica.pool_size().most == 5
        await replica.lead_to(patient_database(primary.dsn))
        with pytest.raises(ReplicaUnusable):
            await replica.source()
        await replica.require_usable()
        assert replica.pool_size().most == 0
        await replica.lead_to(settings(primary.dsn, standby.dsn))
        await replica.source()


async def test_whoever_gets_a_frame_finds_what_it_tells_in_every_list(
    primary: EmbeddedPostgres,
    standby: EmbeddedPostgres,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The frame comes from the database alone: no message of another daemon has announced it."""
    monkeypatch.setattr(wal_position, "STALE_SECONDS", SECONDS)
    chosen = Settings(
        server=ServerSettings(environment="development", port=free_port()),
        operator=OperatorSettings(port=0),
        database=settings(primary.dsn, standby.dsn),
        redis=RedisSettings(url=RedisUrl(redis_url)),
        solana=SolanaSettings(rpc_url=RpcUrl(NOWHERE), cluster="localnet", timeout_seconds=0.2),
        auth=AuthSettings(jwt_secret=SharedSecret(shared_secret("sessions"))),
        helius=WEBHOOK,
    )
    database = await Database.connect(settings(primary.dsn, standby.dsn))
    address = f"http://127.0.0.1:{chosen.server.port}"
    async with daemon.running(chosen), aiohttp.ClientSession(address) as session:

        async def total() -> int:
            async with session.get(TRADES) as answer:
                return int((await answer.json())["total"])

        async with asyncio.timeout(SECONDS):
            before = outcomes()["replica"]
            while outcomes()["replica"] == before:
                known = await total()
        async with session.ws_connect("/ws") as socket:
            await socket.send_json({"action": "subscribe", "market_id": MARKET})
            await frame(socket, "market_state")
            await pause(standby)
            async with database.service() as connection:
                await insert_trade(connection, "in a frame", MARKET, wallet("trader"), block_time=NOON)
                await connection.execute(
                    "update markets set trades_count = trades_count + 1 where id = $1", MARKET
                )
                message = msgspec.json.encode(announcement())
                await streams.append(connection, [(f"market:{MARKET}", message)])
            await frame(socket, "price")
            assert await total() == known + 1
    await database.close()


async def frame(socket: aiohttp.ClientWebSocketResponse, kind: str) -> None:
    """Wait for a frame of this kind."""
    async with asyncio.timeout(SECONDS):
        while kind not in str((received := await socket.receive_json())["type"]):
            assert received["type"] != "error", received


async def test_the_doctor_says_what_is_wrong_with_a_replica(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, tmp_path: Path
) -> None:
    checks = [
        check
        for check in (*postgres_checks.CHECKS, *replica_checks.CHECKS)
        if check.name in {"database", "migrations", "replica"}
    ]

    async def found(url: str) -> Finding:
        file = tmp_path / "zmartd.toml"
        file.write_text(f"[database]\nurl = '{primary.dsn}'\nreplica_url = '{url}'\n")
        [*_, finding] = await examine(file, checks, SystemClock())
        return finding

    assert (await found("")).detail == "there is none"
    kept_up = await found(standby.dsn)
    assert "had what the primary has after" in kept_up.detail
    foreign = await found(primary.dsn_of("postgres"))
    assert (foreign.verdict, "is no standby" in foreign.detail) == ("warning", True)
    away = await found("postgresql://zmartd:hidden@127.0.0.1:1/zmartd")
    assert (away.verdict, "database.replica_url" in away.detail) == ("warning", True)
    assert "hidden" not in away.detail
