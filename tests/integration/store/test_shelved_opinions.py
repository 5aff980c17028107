"""What is said about a resolution goes with it, and comes back with it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from asyncpg import Connection

from tests.integration.store.rows import NOON, insert, insert_market, signature, wallet
from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import dispute_requests, votes
from zmartd.store.dispute_requests import DisputeRequestRefused
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE, Caller
from zmartd.store.votes import VotedOutcomeReplaced, VotingClosed

ALICE, BOB = wallet("alice"), wallet("bob")
FIRST, SECOND = signature("first"), signature("second")
OPINIONS = ("dispute_requests", "dispute_votes", "vote_tallies", "settled_disputes", "market_decisions")


async def market_with_holders(database: Database, state: MarketState) -> str:
    """A market with a resolution; both wallets may vote on its dispute."""
    async with database.service() as connection:
        market = await insert_market(connection, "m", state, resolved_in=FIRST)
        for holder in (ALICE, BOB):
            await insert(connection, "dispute_electorate", market_id=market, user_wallet=holder, stake=1)
    return market


async def opinions(database: Database) -> dict[str, list[Any]]:
    async with database.service_reader() as connection:
        return {
            table: [
                tuple(row)
                for row in await connection.fetch(f"select * from {table} order by {table}.*::text")
            ]
            for table in OPINIONS
        }


async def resolve(connection: Connection, market: str, signature_: str | None, state: MarketState) -> None:
    await connection.execute(
        "update markets set resolved_in = $2, state = $3 where id = $1", market, signature_, state.name
    )


async def test_opinions_go_with_their_resolution_and_come_back_as_they_were(database: Database) -> None:
    market = await market_with_holders(database, MarketState.RESOLVING)
    async with database.service() as connection:
        await insert(connection, "dispute_requests", market_id=market, user_wallet=ALICE)
        await resolve(connection, market, FIRST, MarketState.DISPUTED)
        for voter in (ALICE, BOB):
            await insert(connection, "dispute_votes", market_id=market, user_wallet=voter, vote=True)
        for kind in VoteKind:
            await insert(
                connection, "vote_tallies", market_id=market, kind=kind.value, yes=2, no=0, stake_yes=10**30
            )
        settled = dict.fromkeys(("yes", "no", "stake_yes", "stake_no", "electorate_wallets"), 1)
        settled |= dict.fromkeys(("electorate_stake", "not_counted"), 3)
        await insert(connection, "settled_disputes", market_id=market, counted_at=NOON, **settled)
        await insert(
            connection,
            "market_decisions",
            market_id=market,
            state="DISPUTED",
            decision="keep",
            because="it is on record",
        )
        # A vote on the chain goes by itself, with its own transaction.
        await insert(
            connection,
            "dispute_votes",
            market_id=market,
            user_wallet=wallet("carol"),
            vote=True,
            source="chain",
            tx_signature=signature("vote"),
        )
    given = await opinions(database)
    assert [len(given[table]) for table in OPINIONS] == [1, 3, 2, 1, 1]

    async with database.service() as connection:
        await resolve(connection, market, None, MarketState.ACTIVE)
        await resolve(connection, market, SECOND, MarketState.RESOLVING)
    left = await opinions(database)
    assert [len(left[table]) for table in OPINIONS] == [0, 1, 1, 0, 0]
    async with database.caller(Caller(BOB)) as caller:
        assert await dispute_requests.request(caller, market, BOB)
    about_second = await opinions(database)

    async with database.service() as connection:
        await resolve(connection, market, FIRST, MarketState.RESOLVING)
    assert await opinions(database) == given
    async with database.service() as connection:
        await resolve(connection, market, SECOND, MarketState.RESOLVING)
    assert await opinions(database) == about_second


async def test_opinions_come_back_into_tables_that_have_got_other_columns(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(BEGIN_AS_SERVICE)
    market = await insert_market(connection, "m", MarketState.RESOLVING, resolved_in=FIRST)
    await insert(connection, "dispute_requests", market_id=market, user_wallet=ALICE)
    await insert(connection, "vote_tallies", market_id=market, kind="dispute", yes=1, no=0, signature=FIRST)
    await resolve(connection, market, SECOND, MarketState.RESOLVING)
    await connection.execute("reset role; alter table dispute_requests add priority int not null default 1")
    await connection.execute(
        "alter table dispute_requests add twice int generated always as (priority * 2) stored"
    )
    await connection.execute(
        "alter table vote_tallies drop signature, add weight text not null default 'one'"
    )
    await connection.execute("set local role service_role")
    for _ in range(2):
        await resolve(connection, market, FIRST, MarketState.RESOLVING)
        asked = await connection.fetch("select user_wallet, priority, twice from dispute_requests")
        assert [tuple(row) for row in asked] == [(ALICE, 1, 2)]
        counted = await connection.fetch("select yes, no, weight from vote_tallies")
        assert [tuple(row) for row in counted] == [(1, 0, "one")]
        await resolve(connection, market, SECOND, MarketState.RESOLVING)
    await connection.close()


async def test_a_vote_that_comes_back_was_cast_before_one_on_the_chain(database: Database) -> None:
    market = await market_with_holders(database, MarketState.DISPUTED)
    async with database.service() as connection:
        await insert(connection, "dispute_votes", market_id=market, user_wallet=ALICE, vote=True)
        await resolve(connection, market, None, MarketState.DISPUTED)
        await insert(
            connection,
            "dispute_votes",
            market_id=market,
            user_wallet=ALICE,
            vote=False,
            source="chain",
            tx_signature=signature("vote"),
        )
        await resolve(connection, market, FIRST, MarketState.DISPUTED)
        cast = await connection.fetch("select vote, source from dispute_votes")
        assert [tuple(row) for row in cast] == [(True, "api")]


REPLACED = "was replaced by another"


@pytest.mark.parametrize("overtaken", ["withdrawn", "replaced"])
@pytest.mark.parametrize("state", [MarketState.RESOLVING, MarketState.DISPUTED])
async def test_an_opinion_that_a_rebuild_overtakes_is_refused(
    database: Database, state: MarketState, overtaken: str
) -> None:
    market = await market_with_holders(database, state)

    async def say() -> None:
        async with database.caller(Caller(ALICE)) as connection:
            if state is MarketState.DISPUTED:
                await votes.cast(connection, VoteKind.DISPUTE, market, ALICE, True)
            else:
                await dispute_requests.request(connection, market, ALICE)

    async with database.service() as connection:
        await connection.execute("select from markets where id = $1 for update", market)
        saying = asyncio.create_task(say())
        async with asyncio.timeout(60):
            while not await connection.fetchval(
                "select exists (select from pg_locks where not granted and locktype = 'transactionid')"
            ):
                assert not saying.done(), "the opinion does not wait"
                await asyncio.sleep(0.005)
        if overtaken == "withdrawn":
            await resolve(connection, market, None, MarketState.ACTIVE)
        else:
            await resolve(connection, market, SECOND, state)
    with pytest.raises(ZmartdError) as refused:
        await saying
    voting = VotedOutcomeReplaced if overtaken == "replaced" else VotingClosed
    assert type(refused.value) is (voting if state is MarketState.DISPUTED else DisputeRequestRefused)
    assert (REPLACED in refused.value.message) == (overtaken == "replaced")
    assert not any((await opinions(database)).values())


async def test_a_wallet_does_not_say_which_resolution_its_opinion_is_about(database: Database) -> None:
    async with database.service_reader() as connection:
        writable = await connection.fetch(
            "select table_name, column_name from information_schema.column_privileges"
            " where grantee in ('anon', 'authenticated') and privilege_type in ('INSERT', 'UPDATE')"
            " and (table_name in ('markets', 'shelved_opinions') or column_name = 'resolved_in')"
        )
    assert writable == []
