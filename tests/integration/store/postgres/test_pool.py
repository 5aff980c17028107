from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from asyncpg import Connection

from zmartd.store.postgres.pool import Connections

DEADLINE_SECONDS = 10


class Connector:
    """Opens connections, unless it is told that it cannot."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.opened = 0
        self.failing = False

    async def connect(self) -> Connection:
        if self.failing:
            raise ConnectionRefusedError
        self.opened += 1
        return await asyncpg.connect(self._url)


@pytest.fixture
def connector(database_url: str) -> Connector:
    return Connector(database_url)


@pytest.fixture
async def two(connector: Connector) -> AsyncIterator[Connections]:
    """Room for two."""
    connections = Connections(connector.connect, 2, DEADLINE_SECONDS)
    yield connections
    async with asyncio.timeout(DEADLINE_SECONDS):
        await connections.close()


async def blocked(work: asyncio.Task[Connection]) -> bool:
    """Whether the task waits when everything else had its turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not work.done()


async def test_a_connection_is_used_again(two: Connections, connector: Connector) -> None:
    first = await two.take("anon")
    two.give_back(first, "anon")
    assert await two.take("anon") is first
    two.give_back(first, "anon")
    assert connector.opened == 1


async def test_each_role_is_lent_the_connection_that_has_its_plans(
    two: Connections, connector: Connector
) -> None:
    first, second = await two.take("anon"), await two.take("authenticated")
    two.give_back(first, "anon")
    two.give_back(second, "authenticated")
    for _ in range(3):
        for role, expected in (("authenticated", second), ("anon", first)):
            lent = await two.take(role)
            assert lent is expected
            two.give_back(lent, role)


async def test_a_role_without_one_gets_a_new_one_and_then_another_role_s(
    two: Connections, connector: Connector
) -> None:
    for role in ("anon", "authenticated", "service_role"):
        two.give_back(await two.take(role), role)
    assert connector.opened == 2


async def test_who_comes_first_is_served_first_when_all_are_in_use(two: Connections) -> None:
    first, second = await two.take("a"), await two.take("a")
    waiting = [asyncio.create_task(two.take("a")) for _ in range(2)]
    assert await blocked(waiting[0])
    two.give_back(second, "a")
    two.give_back(first, "a")
    assert await asyncio.gather(*waiting) == [second, first]
    two.give_back(first, "a")
    two.give_back(second, "a")


async def test_who_waits_too_long_is_told_so_and_leaves_no_gap(connector: Connector) -> None:
    connections = Connections(connector.connect, 1, patience_seconds=0.01)
    only = await connections.take("a")
    with pytest.raises(TimeoutError):
        await connections.take("a")
    connections.give_back(only, "a")
    assert await connections.take("a") is only
    connections.give_back(only, "a")
    await connections.close()


async def test_who_gives_up_while_being_served_passes_the_connection_on(two: Connections) -> None:
    first, second = await two.take("a"), await two.take("a")
    giving_up, patient = (asyncio.create_task(two.take("a")) for _ in range(2))
    assert await blocked(patient)
    two.give_back(first, "a")
    giving_up.cancel()
    assert await patient is first
    two.give_back(first, "a")
    two.give_back(second, "a")


async def test_a_connection_that_was_lost_makes_room_for_whoever_waits(
    two: Connections, connector: Connector
) -> None:
    first, second = await two.take("a"), await two.take("a")
    waiting = asyncio.create_task(two.take("a"))
    assert await blocked(waiting)
    first.terminate()
    two.give_back(first, "a")
    third = await waiting
    assert third not in (first, second)
    assert connector.opened == 3
    two.give_back(second, "a")
    two.give_back(third, "a")


async def test_idle_connections_that_were_lost_are_not_lent(two: Connections, connector: Connector) -> None:
    first, second = await two.take("a"), await two.take("a")
    for connection in (first, second):
        two.give_back(connection, "a")
        connection.terminate()
    lent = await two.take("b")
    assert await lent.fetchval("select 1") == 1
    two.give_back(lent, "b")
    assert connector.opened == 3


async def test_one_that_comes_back_inside_a_transaction_is_closed(two: Connections) -> None:
    connection = await two.take("a")
    await connection.execute("begin; set local role anon")
    two.give_back(connection, "a")
    assert connection.is_closed()
    fresh = await two.take("a")
    assert fresh is not connection
    two.give_back(fresh, "a")


async def test_a_failed_opening_takes_no_room(two: Connections, connector: Connector) -> None:
    connector.failing = True
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await two.take("a")
    connector.failing = False
    lent = [await two.take("a"), await two.take("a")]
    for connection in lent:
        two.give_back(connection, "a")


async def test_closing_waits_for_what_is_in_use_and_lets_nobody_in(connector: Connector) -> None:
    connections = Connections(connector.connect, 2, DEADLINE_SECONDS)
    used, idle = await connections.take("a"), await connections.take("a")
    connections.give_back(idle, "a")
    closing = asyncio.create_task(connections.close())
    done, _ = await asyncio.wait([closing], timeout=0.1)
    assert not done
    assert idle.is_closed()
    with pytest.raises(asyncpg.InterfaceError):
        await connections.take("a")
    assert await used.fetchval("select 1") == 1
    connections.give_back(used, "a")
    await closing
    assert used.is_closed()
