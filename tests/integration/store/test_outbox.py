from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.integration.store.rows import NOON, insert, insert_market, signature, wallet
from zmartd.chain.sender import Fate, SignedTransaction
from zmartd.config import Transactions
from zmartd.store import checkpoints, events, inbox, task_runs, users
from zmartd.store.checkpoints import Checkpoint
from zmartd.store.inbox import Depth
from zmartd.store.outbox import DatabaseOutbox, TooManyPending, claim
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY, Caller
from zmartd.store.task_runs import TaskRun

PROGRAM = wallet("program")


def transaction(name: str) -> SignedTransaction:
    return SignedTransaction(signature(name), name.encode(), 1_000, "test")


async def test_recorded_transactions_wait_in_order_until_their_fate_is_known(database: Database) -> None:
    outbox = DatabaseOutbox(database, Transactions())
    for name in ("first", "second", "third"):
        await outbox.record(transaction(name))
    await outbox.record_fate(signature("second"), Fate.LANDED, 77, None)

    assert list(await outbox.pending()) == [transaction("first"), transaction("third")]
    landed = await outbox.find(signature("second"))
    assert landed is not None
    assert (landed.transaction, landed.fate, landed.slot) == (transaction("second"), Fate.LANDED, 77)
    assert await outbox.find(signature("nothing")) is None


async def test_recording_or_settling_again_changes_nothing(database: Database) -> None:
    outbox = DatabaseOutbox(database, Transactions())
    await outbox.record(transaction("t"))
    await outbox.record_fate(signature("t"), Fate.FAILED, 5, "SlippageExceeded")

    await outbox.record(msgspec.structs.replace(transaction("t"), purpose="other", wire=b"other"))
    await outbox.record_fate(signature("t"), Fate.EXPIRED, None, None)

    settled = await outbox.find(signature("t"))
    assert settled is not None
    assert settled.transaction == transaction("t")
    assert (settled.fate, settled.slot, settled.error) == (Fate.FAILED, 5, "SlippageExceeded")
    assert list(await outbox.pending()) == []


def relayed(name: str, of: str) -> SignedTransaction:
    return msgspec.structs.replace(transaction(name), relayed_for=wallet(of))


async def test_daemons_that_record_at_once_keep_no_more_of_a_wallet_than_it_may_have(
    database: Database,
) -> None:
    daemons = [DatabaseOutbox(database, Transactions(max_pending_per_wallet=3)) for _ in range(4)]

    async def record(number: int) -> bool:
        try:
            await daemons[number % 4].record(relayed(f"t{number}", "alice"))
        except TooManyPending:
            return False
        return True

    recorded = await asyncio.gather(*(record(number) for number in range(20)))

    assert sum(recorded) == len(await daemons[0].pending()) == 3


async def test_a_wallet_s_places_are_its_own_and_free_again_once_something_has_ended(
    database: Database,
) -> None:
    outbox = DatabaseOutbox(database, Transactions(max_pending_per_wallet=1))
    await outbox.record(relayed("first", "alice"))
    await outbox.record(relayed("hers", "bob"))
    await outbox.record(transaction("the daemon's own"))
    with pytest.raises(TooManyPending) as refused:
        await outbox.record(relayed("second", "alice"))
    assert refused.value.details == {"limit": 1, "retry_after_seconds": 5}
    assert await outbox.find(signature("second")) is None

    await outbox.record(relayed("first", "alice"))  # the same again is never refused
    await outbox.record_fate(signature("first"), Fate.EXPIRED, None, None)
    await outbox.record(relayed("second", "alice"))
    found = await outbox.find(signature("second"))
    assert found is not None
    assert found.transaction == relayed("second", "alice")


async def ended_days_ago(database: Database, days: int) -> None:
    async with database.service() as connection:
        await connection.execute(
            "update outbox_transactions set settled_at = settled_at - make_interval(days => $1)", days
        )


async def left(database: Database) -> set[str]:
    async with database.service() as connection:
        return {
            row["signature"] for row in await connection.fetch("select signature from outbox_transactions")
        }


async def test_what_has_ended_is_forgotten_after_the_days_it_is_kept(database: Database) -> None:
    outbox = DatabaseOutbox(database, Transactions(keep_days=30))
    for name, fate in {"landed": Fate.LANDED, "failed": Fate.FAILED, "expired": Fate.EXPIRED}.items():
        await outbox.record(relayed(name, "alice"))
        await outbox.record_fate(signature(name), fate, 7, None)
    await outbox.record(relayed("pending", "alice"))
    await ended_days_ago(database, 29)
    await outbox.record(relayed("young", "alice"))
    await outbox.record_fate(signature("young"), Fate.LANDED, 8, None)
    assert len(await left(database)) == 5

    await ended_days_ago(database, 2)
    await outbox.record_fate(signature("pending"), Fate.LANDED, 9, None)
    assert await left(database) == {signature("pending"), signature("young")}


async def test_forgetting_goes_in_small_steps(database: Database) -> None:
    outbox = DatabaseOutbox(database, Transactions())
    async with database.service() as connection:
        await connection.execute(
            "insert into outbox_transactions"
            " (signature, wire, last_valid_block_height, purpose, status, settled_at) "
            "select repeat('1', 61) || translate(n::text, '0', 'A'), 'x', 1, 'test', 'landed',"
            " now() - interval '31 days' from generate_series(100, 249) as n"
        )
    await outbox.record(transaction("one"))
    await outbox.record_fate(signature("one"), Fate.LANDED, 1, None)
    assert len(await left(database)) == 50 + 1
    await outbox.record_fate(signature("one"), Fate.LANDED, 1, None)
    assert await left(database) == {signature("one")}


async def test_a_decision_that_the_index_has_not_caught_up_with_is_not_forgotten(database: Database) -> None:
    """Otherwise a task that decides from a node that is as far behind would do it again."""
    outbox = DatabaseOutbox(database, Transactions())
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await connection.execute("update markets set slot = 99")
        await claim(connection, market, transaction("decided"), read_at_slot=90)
    await outbox.record_fate(signature("decided"), Fate.LANDED, 100, None)
    await ended_days_ago(database, 400)
    await outbox.record_fate(signature("decided"), Fate.LANDED, 100, None)
    assert await left(database) == {signature("decided")}

    async with database.service() as connection:
        await connection.execute("update markets set slot = 100")
    await outbox.record_fate(signature("decided"), Fate.LANDED, 100, None)
    assert await left(database) == set()


async def test_two_daemons_never_take_the_same_delivery(database: Database) -> None:
    async with database.service() as connection:
        await inbox.add(connection, [(b"a", 1), (b"b", 1), (b"c", 1)])
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
        await inbox.add(connection, [(b"poison", 3)])
        now = await connection.fetchval("select now()")
        (delivery,) = await inbox.take(connection, now, limit=9)
        await inbox.postpone(connection, delivery.id, "no such market", until=now + timedelta(seconds=30))
        assert await inbox.take(connection, now, limit=9) == ()
        (again,) = await inbox.take(connection, now + timedelta(seconds=30), limit=9)
        assert again.attempts == 1
        assert await inbox.depth(connection) == Depth(pending=1, parked=0)

        await inbox.park(connection, delivery.id, "still no such market")
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
        await inbox.add(connection, [(b"done", 1), (b"waiting", 1), (b"parked", 1)])
        ids = [row["id"] for row in await connection.fetch("select id from webhook_inbox order by id")]
        await inbox.finish(connection, ids[:1])
        await inbox.park(connection, ids[2], "bad")
        await inbox.purge(connection, datetime.now(UTC) + timedelta(days=1))

        assert [
            row["id"] for row in await connection.fetch("select id from webhook_inbox order by id")
        ] == ids[1:]


async def test_the_cursor_only_moves_forward(database: Database) -> None:
    async with database.service() as connection:
        assert await checkpoints.find(connection, PROGRAM) is None
        await checkpoints.advance(connection, PROGRAM, Checkpoint(signature("b"), 200))
        await checkpoints.advance(connection, PROGRAM, Checkpoint(signature("a"), 100))
        assert await checkpoints.find(connection, PROGRAM) == Checkpoint(signature("b"), 200)
        await checkpoints.advance(connection, PROGRAM, Checkpoint(signature("c"), 200))
        assert await checkpoints.find(connection, PROGRAM) == Checkpoint(signature("c"), 200)


async def test_a_market_s_trail_has_every_change_of_state_newest_first(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for slot, (table, event_type) in enumerate(
            [
                ("market_events", "MarketCreated"),
                ("vote_events", "ProposalVoteSubmitted"),
                ("vote_events", "ProposalAggregated"),
                ("market_events", "ProposalApproved"),
                ("admin_events", "MarketCancelled"),
            ]
        ):
            await insert(
                connection,
                table,
                event_type=event_type,
                tx_signature=signature(event_type),
                event_index=0,
                slot=slot,
                market_id=market,
                actor=wallet("actor"),
                payload='{"amount": "18446744073709551615"}',
            )

    async with database.caller(ANYBODY) as connection:
        trail = (await events.page(connection, market, 10)).rows
        first = await events.page(connection, market, 1)
        second = await events.page(connection, market, 1, after=first.next_key)
        by_offset = await events.page(connection, market, 1, offset=1)

    assert [event.event_type for event in trail] == [
        "MarketCancelled",
        "ProposalApproved",
        "ProposalAggregated",
        "MarketCreated",
    ]
    assert trail[0].payload == {"amount": "18446744073709551615"}
    assert second.rows == by_offset.rows == trail[1:2]


async def test_signing_in_again_keeps_the_profile(database: Database) -> None:
    alice = wallet("alice")
    async with database.caller(Caller(alice)) as connection:
        first = await users.sign_in(connection, alice)
        await connection.execute("update users set display_name = 'Alice'")
    async with database.caller(Caller(alice)) as connection:
        again = await users.sign_in(connection, alice)
        await users.touch(connection, alice)
        assert await users.find(connection, alice) == again

    assert (first.display_name, again.display_name) == (None, "Alice")
    assert again.created_at == first.created_at
    assert again.last_seen_at > first.last_seen_at


async def test_task_runs_are_remembered_and_forgotten(database: Database) -> None:
    run = TaskRun("market_monitor", 7, NOON, NOON + timedelta(seconds=1), "ok", {"finalized": ["m"]})
    async with database.service() as connection:
        await task_runs.record(connection, run)
        (kept,) = await connection.fetch("select * from task_runs")
        assert (kept["task"], kept["fencing_token"], kept["outcome"]) == ("market_monitor", 7, "ok")
        assert json.loads(kept["report"]) == run.report
        await task_runs.purge(connection, NOON + timedelta(days=1))
        assert await connection.fetch("select * from task_runs") == []
