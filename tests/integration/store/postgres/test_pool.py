from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from asyncpg import Connection

from zmartd.store.postgres.pool import (
    MAX_AGE_SECONDS,
    MAX_PASSED_OVER,
    ConnectionPool,
    PooledConnection,
    PoolSize,
)

ACQUIRE_SECONDS = 10


class Server:
    """Opens connections, unless it is told to refuse, and says what time it is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.opened: list[Connection] = []
        self.refuses = False
        self.now = 0.0

    async def connect(self) -> Connection:
        if self.refuses:
            raise ConnectionRefusedError
        connection = await asyncpg.connect(self._url)
        self.opened.append(connection)
        return connection

    def monotonic(self) -> float:
        return self.now

    @property
    def open_now(self) -> int:
        return sum(not connection.is_closed() for connection in self.opened)


@pytest.fixture
def server(migrated_database_url: str) -> Server:
    return Server(migrated_database_url)


def pool_of(server: Server, size: int, acquire_seconds: float = ACQUIRE_SECONDS) -> ConnectionPool:
    return ConnectionPool(server.connect, size, acquire_seconds, server.monotonic)


@pytest.fixture
async def two(server: Server) -> AsyncIterator[ConnectionPool]:
    """A pool of at most two connections."""
    pool = pool_of(server, 2)
    yield pool
    async with asyncio.timeout(ACQUIRE_SECONDS):
        await pool.close()


@pytest.fixture
async def one(server: Server) -> AsyncIterator[ConnectionPool]:
    """A pool of at most one connection."""
    pool = pool_of(server, 1)
    yield pool
    async with asyncio.timeout(ACQUIRE_SECONDS):
        await pool.close()


async def waiting(pool: ConnectionPool, *roles: str) -> list[asyncio.Task[PooledConnection]]:
    """Tasks that wait for a connection, in this order."""
    tasks = [asyncio.create_task(pool.acquire(role)) for role in roles]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def test_a_connection_is_used_again(two: ConnectionPool, server: Server) -> None:
    first = await two.acquire("anon")
    two.release(first)
    assert await two.acquire("anon") is first
    two.release(first)
    assert len(server.opened) == 1


async def test_each_role_gets_the_connection_that_has_its_plans(two: ConnectionPool) -> None:
    first, second = await two.acquire("anon"), await two.acquire("authenticated")
    two.release(first)
    two.release(second)
    for _ in range(3):
        for role, expected in (("authenticated", second), ("anon", first)):
            pooled = await two.acquire(role)
            assert pooled is expected
            two.release(pooled)


async def test_a_role_without_a_connection_gets_a_new_one_and_in_a_full_pool_another_role_s(
    two: ConnectionPool, server: Server
) -> None:
    for role in ("anon", "authenticated", "service_role"):
        two.release(await two.acquire(role))
    assert len(server.opened) == 2


async def test_tasks_of_one_role_are_served_in_the_order_in_which_they_came(two: ConnectionPool) -> None:
    first, second = await two.acquire("a"), await two.acquire("a")
    tasks = await waiting(two, "a", "a")
    two.release(second)
    two.release(first)
    assert await asyncio.gather(*tasks) == [second, first]
    two.release(first)
    two.release(second)


async def test_a_task_of_the_role_whose_plans_a_connection_has_is_served_first(one: ConnectionPool) -> None:
    only = await one.acquire("b")
    other, same = await waiting(one, "a", "b")
    one.release(only)
    assert await same is only
    assert not other.done()
    one.release(only)
    assert await other is only
    one.release(only)


async def test_a_task_of_another_role_is_passed_over_only_so_often(one: ConnectionPool) -> None:
    only = await one.acquire("b")
    (other,) = await waiting(one, "a")
    for _ in range(MAX_PASSED_OVER):
        (same,) = await waiting(one, "b")
        one.release(only)
        await same
    (same,) = await waiting(one, "b")
    one.release(only)
    assert await other is only
    assert not same.done()
    one.release(only)
    await same
    one.release(only)


async def test_a_task_that_waits_too_long_fails_and_the_next_is_served(server: Server) -> None:
    pool = pool_of(server, 1, acquire_seconds=0.01)
    only = await pool.acquire("a")
    with pytest.raises(TimeoutError):
        await pool.acquire("a")
    pool.release(only)
    assert await pool.acquire("a") is only
    pool.release(only)
    await pool.close()


async def test_a_task_that_is_cancelled_while_it_is_served_leaves_the_connection_to_the_next(
    two: ConnectionPool,
) -> None:
    first, second = await two.acquire("a"), await two.acquire("a")
    cancelled, patient = await waiting(two, "a", "a")
    two.release(first)
    cancelled.cancel()
    assert await patient is first
    two.release(first)
    two.release(second)


async def test_the_place_of_a_lost_connection_goes_to_the_task_that_waits(
    two: ConnectionPool, server: Server
) -> None:
    first, second = await two.acquire("a"), await two.acquire("a")
    (patient,) = await waiting(two, "a")
    late = asyncio.create_task(two.acquire("a"))  # runs before the one that waits is woken
    first.connection.terminate()
    two.release(first)
    third = await patient
    assert third not in (first, second)
    assert server.open_now == 2
    two.release(second)
    assert await late is second
    assert len(server.opened) == 3
    two.release(second)
    two.release(third)


async def test_idle_connections_that_were_lost_are_not_used(two: ConnectionPool, server: Server) -> None:
    first, second = await two.acquire("a"), await two.acquire("a")
    for pooled in (first, second):
        two.release(pooled)
        pooled.connection.terminate()
    pooled = await two.acquire("b")
    assert await pooled.connection.fetchval("select 1") == 1
    two.release(pooled)
    assert len(server.opened) == 3


async def test_a_connection_that_comes_back_inside_a_transaction_is_closed(two: ConnectionPool) -> None:
    pooled = await two.acquire("a")
    await pooled.connection.execute("begin; set local role anon")
    two.release(pooled)
    assert pooled.connection.is_closed()
    fresh = await two.acquire("a")
    assert fresh is not pooled
    two.release(fresh)


async def test_a_connection_that_could_not_be_opened_takes_no_place(
    two: ConnectionPool, server: Server
) -> None:
    server.refuses = True
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await two.acquire("a")
    server.refuses = False
    for pooled in [await two.acquire("a"), await two.acquire("a")]:
        two.release(pooled)


async def test_an_old_connection_is_replaced_when_it_is_next_acquired(
    one: ConnectionPool, server: Server
) -> None:
    old = await one.acquire("a")
    one.release(old)
    server.now = MAX_AGE_SECONDS
    assert await one.acquire("a") is old
    one.release(old)
    server.now += 1
    new = await one.acquire("a")
    assert new is not old
    assert old.connection.is_closed()
    assert await new.connection.fetchval("select 1") == 1
    one.release(new)
    assert await one.acquire("a") is new
    one.release(new)
    assert len(server.opened) == 2


async def test_an_old_connection_that_cannot_be_replaced_takes_no_place(
    one: ConnectionPool, server: Server
) -> None:
    one.release(await one.acquire("a"))
    server.now = MAX_AGE_SECONDS + 1
    server.refuses = True
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await one.acquire("a")
    server.refuses = False
    one.release(await one.acquire("a"))
    assert server.open_now == 1


async def test_closing_waits_for_connections_in_use_and_opens_none(server: Server) -> None:
    pool = pool_of(server, 2)
    used, idle = await pool.acquire("a"), await pool.acquire("a")
    pool.release(idle)
    closing = asyncio.create_task(pool.close())
    done, _ = await asyncio.wait([closing], timeout=0.1)
    assert not done
    assert idle.connection.is_closed()
    with pytest.raises(asyncpg.InterfaceError):
        await pool.acquire("a")
    assert await used.connection.fetchval("select 1") == 1
    pool.release(used)
    await closing
    assert server.open_now == 0


async def test_a_pool_says_how_many_connections_are_idle_and_in_use_and_how_many_wait(
    two: ConnectionPool,
) -> None:
    assert two.size() == PoolSize(idle=0, in_use=0, most=2, waiting=0)
    first, second = await two.acquire("anon"), await two.acquire("service_role")
    (waiter,) = await waiting(two, "anon")
    assert two.size() == PoolSize(idle=0, in_use=2, most=2, waiting=1)
    two.release(first)
    two.release(second)
    assert two.size() == PoolSize(idle=1, in_use=1, most=2, waiting=0)
    two.release(await waiter)
    assert two.size() == PoolSize(idle=2, in_use=0, most=2, waiting=0)
