from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.integration.store.expiry import delete_expired
from zmartd.store import inbox
from zmartd.store.inbox import Depth
from zmartd.store.postgres.database import Database


async def test_two_daemons_never_take_the_same_delivery(database: Database) -> None:
    async with database.service() as connection:
        await inbox.add(
            connection, [inbox.NewDelivery(b"a", 1), inbox.NewDelivery(b"b", 1), inbox.NewDelivery(b"c", 1)]
        )
        now = await connection.fetchval("select now()")
    first_has_taken, second_has_taken = asyncio.Event(), asyncio.Event()

    async def first() -> list[bytes]:
        async with database.service() as connection:
            taken = await inbox.take(connection, now, limit=2)
            first_has_taken.set()
            await second_has_taken.wait()
            await inbox.finish(connection, [delivery.id for delivery in taken])
        return [delivery.body for delivery in taken]

    async def second() -> list[bytes]:
        await first_has_taken.wait()
        async with database.service() as connection:
            taken = await inbox.take(connection, now, limit=2)
            second_has_taken.set()
        return [delivery.body for delivery in taken]

    assert list(await asyncio.gather(first(), second())) == [[b"a", b"b"], [b"c"]]
    async with database.service() as connection:
        assert [delivery.body for delivery in await inbox.take(connection, now, limit=9)] == [b"c"]


async def test_a_delivery_that_fails_waits_and_is_parked_in_the_end(database: Database) -> None:
    async with database.service() as connection:
        await inbox.add(connection, [inbox.NewDelivery(b"poison", 3)])
        now = await connection.fetchval("select now()")
        (delivery,) = await inbox.take(connection, now, limit=9)
        await inbox.postpone(connection, delivery.id, "no such market", until=now + timedelta(seconds=30))
        assert await inbox.take(connection, now, limit=9) == ()
        (again,) = await inbox.take(connection, now + timedelta(seconds=30), limit=9)
        assert again.attempts == 1
        assert await inbox.depth(connection) == Depth(pending=1, parked=0)

        await inbox.park(connection, {delivery.id: "still no such market"})
        (parked,) = await inbox.parked(connection, limit=9)
        assert (parked.id, parked.transactions, parked.attempts, parked.error) == (
            delivery.id,
            3,
            2,
            "still no such market",
        )
        assert await inbox.depth(connection) == Depth(pending=0, parked=1)

        assert await inbox.replay(connection, [delivery.id, 999]) == (delivery.id,)
        assert await inbox.replay_all(connection) == ()
        assert [one.attempts for one in await inbox.take(connection, now, limit=9)] == [0]


async def test_only_deliveries_that_are_in_the_index_are_forgotten(database: Database) -> None:
    async with database.service() as connection:
        await inbox.add(
            connection,
            [
                inbox.NewDelivery(b"done", 1),
                inbox.NewDelivery(b"waiting", 1),
                inbox.NewDelivery(b"parked", 1),
            ],
        )
        ids = [row["id"] for row in await connection.fetch("select id from webhook_inbox order by id")]
        await inbox.finish(connection, ids[:1])
        await inbox.park(connection, {ids[2]: "bad"})
        await connection.execute("update webhook_inbox set settled_at = settled_at - interval '8 days'")
    assert await delete_expired(database, "webhook_inbox") == 1
    async with database.service() as connection:
        assert [
            row["id"] for row in await connection.fetch("select id from webhook_inbox order by id")
        ] == ids[1:]


async def parked_bodies(database: Database) -> list[bytes]:
    async with database.service() as connection:
        rows = await connection.fetch("select body from webhook_inbox where status = 'parked' order by id")
    return [row["body"] for row in rows]


async def test_parked_deliveries_are_bounded_by_number_and_bytes_and_kind(database: Database) -> None:
    async with database.service() as connection:
        await inbox.add(connection, [inbox.NewDelivery(bytes([number]) * 10, 1) for number in range(8)])
        ids = [row["id"] for row in await connection.fetch("select id from webhook_inbox order by id")]
        await inbox.park(connection, dict.fromkeys(ids[:7:2], "\0 no \ud800"), unreadable=True)
        await inbox.park(connection, dict.fromkeys(ids[1:7:2], "no"))
        assert await inbox.trim_parked(connection) == 0
        assert await inbox.trim_parked(connection, most=3) == 1
    assert await parked_bodies(database) == [bytes([number]) * 10 for number in range(1, 7)]
    async with database.service() as connection:
        assert await inbox.trim_parked(connection, most_bytes=20) == 2
        assert (await inbox.depth(connection)) == Depth(pending=1, parked=4)
    assert await parked_bodies(database) == [bytes([number]) * 10 for number in range(3, 7)]
