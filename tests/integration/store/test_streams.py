from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import asyncpg
import pytest

from zmartd.store import streams
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY
from zmartd.store.streams import StreamPosition

ONE, TWO = (f"market:{byte * 32}" for byte in ("5a", "6b"))
WALLET = "user:FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX"


class GivenUp(Exception):
    """Ends a transaction, which is then rolled back."""


async def test_messages_are_numbered_by_stream_in_the_order_in_which_they_are_said(
    database: Database,
) -> None:
    async with database.service() as connection:
        first = await streams.append(connection, [(ONE, b"a"), (WALLET, b"b"), (ONE, b"c")])
        second = await streams.append(connection, [(TWO, b"d"), (ONE, b"e")])
        assert await streams.append(connection, []) == []
    assert [at.seq for at in (*first, *second)] == [1, 1, 2, 1, 3]
    assert {at.epoch for at in (*first, *second)} == {first[0].epoch}
    async with database.service_reader() as reader:
        found = await streams.after(reader, {ONE: 1, TWO: 0, WALLET: 1}, 10)
        assert {name: [(one.seq, one.body) for one in said] for name, said in found.items()} == {
            ONE: [(2, b"c"), (3, b"e")],
            TWO: [(1, b"d")],
        }
        assert [one.seq for one in (await streams.after(reader, {ONE: 0}, 2))[ONE]] == [1, 2]


async def test_daemons_that_append_to_the_same_streams_wait_for_each_other(database: Database) -> None:
    """In whatever order each names them: no deadlock, no gap, no number twice."""
    shuffled = random.Random(7)

    async def append(number: int) -> None:
        names = [ONE, TWO, WALLET]
        shuffled.shuffle(names)
        async with database.service() as connection:
            await streams.append(connection, [(name, b"%d" % number) for name in names])
            if number % 5 == 0:
                raise ConnectionAbortedError("rolled back")

    await asyncio.gather(*(append(number) for number in range(40)), return_exceptions=True)
    async with database.service_reader() as reader:
        found = await streams.after(reader, {ONE: 0, TWO: 0, WALLET: 0}, 100)
    for said in found.values():
        assert [one.seq for one in said] == list(range(1, 33))
        assert len({one.body for one in said}) == 32


async def test_a_look_finds_what_was_committed_since_the_last_one_however_long_that_took(
    database: Database,
) -> None:
    async with database.service_reader() as reader:
        look = await streams.changes(reader, None)
    assert look is not None
    assert look.streams == {}
    async with database.service() as slow:
        await streams.append(slow, [(ONE, b"a")])
        async with database.service() as quick:
            await streams.append(quick, [(TWO, b"b")])
        async with database.service_reader() as reader:
            look = await streams.changes(reader, look.horizon)
        assert look is not None
        assert look.streams == {TWO: (1, 1)}
    async with database.service_reader() as reader:
        look = await streams.changes(reader, look.horizon)
        assert look is not None
        assert look.streams == {ONE: (1, 1), TWO: (1, 1)}
        look = await streams.changes(reader, look.horizon)
        assert look is not None
        assert look.streams == {}


async def test_a_horizon_is_not_beyond_ids_that_a_crash_would_give_again(database: Database) -> None:
    async def horizon() -> int:
        async with database.service_reader() as reader:
            look = await streams.changes(reader, None)
        assert look is not None
        return int(look.horizon)

    async def lose_ids() -> None:
        """Those of transactions whose end no log has to have."""
        for _ in range(3):
            with suppress(GivenUp):
                async with database.service() as connection:
                    await connection.execute("select pg_current_xact_id()")
                    raise GivenUp

    await lose_ids()
    assert await horizon() == 1
    async with database.service() as connection:
        await streams.append(connection, [(ONE, b"a")])
        newest = int(await connection.fetchval("select pg_current_xact_id()::text"))
    await lose_ids()
    assert await horizon() <= newest + 1


async def test_messages_that_were_disowned_are_no_change_where_there_are_no_others(
    database: Database,
) -> None:
    async with database.service() as connection:
        await streams.append(connection, [(ONE, b"a")])
        await connection.execute("update stream_messages set committed_by = '1000000000'")
    async with database.service_reader() as reader:
        look = await streams.changes(reader, None)
    assert look is not None
    async with database.service() as connection:
        assert await streams.disown(connection, 2) == 1
    async with database.service_reader() as reader:
        look = await streams.changes(reader, look.horizon)
    assert look is not None
    assert look.streams == {}


async def test_another_database_begins_another_epoch_once(database: Database) -> None:
    async with database.service() as connection:
        before = await streams.changes(connection, None)
        assert before is not None
        await streams.begin_epoch(connection)
        assert await streams.changes(connection, None) == before
        await connection.execute("update stream_epochs set database = 'the one of which this is a copy'")
        assert await streams.changes(connection, None) is None
        await streams.begin_epoch(connection)
        after = await streams.changes(connection, None)
        assert after is not None
        assert after.epoch != before.epoch


async def test_what_a_copy_says_of_transactions_of_another_database_is_never_taken_for_a_change(
    database: Database,
) -> None:
    async with database.service() as connection:
        await streams.append(connection, [(ONE, b"a"), (ONE, b"b"), (TWO, b"c")])
        await connection.execute(
            "update stream_messages set committed_by = (pg_current_xact_id()::text::bigint + 40)::text::xid8"
        )
    async with database.service() as connection:
        look = await streams.changes(connection, None)
    async with database.service() as connection:
        await streams.append(connection, [(TWO, b"d")])
    async with database.service_reader() as reader:
        assert look is not None
        look = await streams.changes(reader, look.horizon)
        assert look is not None
        assert look.streams == {TWO: (2, 2)}
    async with database.service() as connection:
        assert await streams.disown(connection, 2) == 2
        assert await streams.disown(connection, 2) == 1
        assert await streams.disown(connection, 2) == 0
    for number in range(50):
        async with database.service() as connection:
            await streams.append(connection, [(TWO, b"%d" % number)])
    async with database.service_reader() as reader:
        look = await streams.changes(reader, look.horizon)
    assert look is not None
    assert look.streams == {TWO: (3, 52)}


@pytest.mark.parametrize("text", ["", "0123456789abcdef", "0123456789abcdef:", "a:-1", "a:1e3", "a:٣"])
def test_what_is_no_position_is_not_read_as_one(text: str) -> None:
    assert StreamPosition.parse("0123456789abcdef:12") == StreamPosition("0123456789abcdef", 12)
    with pytest.raises(ValueError, match="a position is"):
        StreamPosition.parse(text)


async def test_a_caller_sees_how_far_a_market_s_stream_has_come_and_none_of_its_messages(
    database: Database,
) -> None:
    async with database.service() as connection:
        (at,) = await streams.append(connection, [(ONE, b"a")])
    async with database.reader(ANYBODY) as reader:
        position = "select zmartd.stream_position($1)"
        assert await reader.fetchval(position, ONE.removeprefix("market:")) == str(at)
        assert await reader.fetchval(position, "7c" * 32) == f"{at.epoch}:0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch("select from stream_messages")
