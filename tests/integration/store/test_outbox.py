from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.integration.store.expiry import delete_expired, rules
from tests.integration.store.rows import insert_market, signature, wallet
from tests.statements import execute
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.config import TransactionSettings
from zmartd.store.intents import Intent, claim
from zmartd.store.outbox import PendingTransactionsDetails, TooManyPending
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox


def transaction(name: str) -> SignedTransaction:
    return SignedTransaction(signature(name), name.encode(), 1_000, "test")


async def test_recorded_transactions_wait_in_order_until_their_fate_is_known(database: Database) -> None:
    outbox = DatabaseOutbox(database, TransactionSettings())
    for name in ("first", "second", "third"):
        await outbox.record(transaction(name))
    await outbox.record_fate(signature("second"), Fate.LANDED, 77, None)

    assert list(await outbox.pending()) == [transaction("first"), transaction("third")]
    landed = await outbox.find(signature("second"))
    assert landed is not None
    assert (landed.transaction, landed.fate, landed.slot) == (transaction("second"), Fate.LANDED, 77)
    assert await outbox.find(signature("nothing")) is None


async def test_recording_again_changes_nothing(database: Database) -> None:
    outbox = DatabaseOutbox(database, TransactionSettings())
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
    daemons = [DatabaseOutbox(database, TransactionSettings(max_pending_per_wallet=3)) for _ in range(4)]

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
    outbox = DatabaseOutbox(database, TransactionSettings(max_pending_per_wallet=1))
    await outbox.record(relayed("first", "alice"))
    await outbox.record(relayed("hers", "bob"))
    await outbox.record(transaction("the daemon's own"))
    with pytest.raises(TooManyPending) as refused:
        await outbox.record(relayed("second", "alice"))
    assert refused.value.details == PendingTransactionsDetails(1, 5)
    assert await outbox.find(signature("second")) is None

    await outbox.record(relayed("first", "alice"))  # the same again is never refused
    await outbox.record_fate(signature("first"), Fate.EXPIRED, None, None)
    await outbox.record(relayed("second", "alice"))
    found = await outbox.find(signature("second"))
    assert found is not None
    assert found.transaction == relayed("second", "alice")


async def test_what_was_recorded_just_now_is_left_to_the_one_that_recorded_it(database: Database) -> None:
    outbox = DatabaseOutbox(database, TransactionSettings())
    await outbox.record(transaction("new"))
    assert list(await outbox.pending(older_than_seconds=3_600)) == []
    assert list(await outbox.pending()) == [transaction("new")]


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
    outbox = DatabaseOutbox(database, TransactionSettings())
    for name, fate in {"landed": Fate.LANDED, "failed": Fate.FAILED, "expired": Fate.EXPIRED}.items():
        await outbox.record(relayed(name, "alice"))
        await outbox.record_fate(signature(name), fate, 7, None)
    await outbox.record(relayed("pending", "alice"))
    await ended_days_ago(database, 29)
    await outbox.record(relayed("young", "alice"))
    await outbox.record_fate(signature("young"), Fate.LANDED, 8, None)
    assert await delete_expired(database, "outbox_transactions") == 0

    await ended_days_ago(database, 2)
    assert await delete_expired(database, "outbox_transactions") == 3
    assert await left(database) == {signature("pending"), signature("young")}


async def test_forgetting_goes_in_small_steps(database: Database, database_url: str) -> None:
    """Also where Postgres takes the table for empty, and therefore rather looks for a step's rows again."""
    outbox = DatabaseOutbox(database, TransactionSettings())
    await outbox.record(transaction("one"))
    await execute(database_url, "delete from outbox_transactions", "analyze outbox_transactions")
    async with database.service() as connection:
        await connection.execute(
            "insert into outbox_transactions"
            " (signature, wire, last_valid_block_height, purpose, status, settled_at) "
            "select repeat('1', 60) || translate(n::text, '0', 'A'), 'x', 1, 'test', 'landed',"
            " now() - interval '31 days' from generate_series(1001, 2500) as n"
        )
    (rule,) = rules("outbox_transactions")
    for deleted in (1_000, 500, 0):
        async with database.service() as connection:
            assert await rule.delete(connection) == deleted


async def test_a_decision_that_the_index_has_not_caught_up_with_is_not_forgotten(database: Database) -> None:
    """Otherwise a task that decides from a node that is as far behind would do it again."""
    outbox = DatabaseOutbox(database, TransactionSettings())
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await connection.execute("update markets set slot = 99")
        meant = Intent(market, "finalize_market", "first", bytes(32), read_at_slot=90)
        await claim(connection, [meant], transaction("decided"))
    await outbox.record_fate(signature("decided"), Fate.LANDED, 100, None)
    await ended_days_ago(database, 400)
    assert await delete_expired(database, "outbox_transactions") == 0

    async with database.service() as connection:
        await connection.execute("update markets set slot = 100")
    assert await delete_expired(database, "outbox_transactions") == 1
    assert await left(database) == set()
