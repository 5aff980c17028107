from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from asyncpg import Connection

from tests.integration.store.expiry import delete_expired
from tests.integration.store.rows import NOON, insert, insert_market, market_id, signature, wallet
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import decisions, dispute_requests, due_markets, finalization_errors, tallies
from zmartd.store.dispute_requests import DisputeRequestRefused, RequestCounts
from zmartd.store.due_markets import DueMarket, UndisputedMarket
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller

HOUR = timedelta(hours=1)


async def insert_votes(connection: Connection, table: str, market: str, likes: int, dislikes: int) -> None:
    for number in range(likes + dislikes):
        await insert(
            connection,
            table,
            market_id=market,
            user_wallet=wallet(f"voter {number}"),
            vote=number < likes,
            source="chain",
            tx_signature=signature(f"{market} {number}"),
        )


async def to_close(connection: Connection) -> tuple[str, ...]:
    """Disputes whose votes are to be closed at noon, read one by one."""
    found: list[DueMarket] = []
    while page := await due_markets.disputes_to_close(
        connection, initiated_until=NOON, now=NOON, after=found[-1] if found else None, limit=1
    ):
        found += page
    return tuple(one.id for one in found)


async def insert_resolved(
    connection: Connection, name: str, proposed_at: datetime, resolver: str = "creator"
) -> str:
    return await insert_market(
        connection,
        name,
        MarketState.RESOLVING,
        resolution_proposed_at=proposed_at,
        resolver_wallet=wallet(resolver),
    )


async def insert_holder(connection: Connection, market: str, name: str, stake: int) -> None:
    await insert(connection, "dispute_electorate", market_id=market, user_wallet=wallet(name), stake=stake)


async def undisputed(connection: Connection, now: datetime, limit: int) -> tuple[UndisputedMarket, ...]:
    return await due_markets.undisputed(connection, NOON, now, limit, [])


@pytest.mark.parametrize(
    ("likes", "dislikes", "passes"),
    [(7, 3, True), (69, 31, False), (70, 30, True), (3, 0, False), (0, 10, False)],
)
async def test_a_proposal_is_due_with_enough_votes_and_seventy_percent_of_them(
    database: Database, likes: int, dislikes: int, passes: bool
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.PROPOSED)
        await insert_votes(connection, "proposal_votes", market, likes, dislikes)
        other = await insert_market(connection, "other")
        await connection.execute(
            """
            insert into user_positions (market_id, user_wallet, trades_count)
            select $1, user_wallet, 1 from proposal_votes
            """,
            other,
        )
        found = await due_markets.voted_proposals(connection, minimum_votes=10, threshold_bps=7000, now=NOON)

    assert found == ((market,) if passes else ())


async def test_dislikes_of_wallets_that_never_traded_keep_no_proposal_from_being_counted(
    database: Database,
) -> None:
    async with database.service() as connection:
        for likes, dislikes in ((10, 90), (9, 1), (7, 90), (6, 90), (9, 0)):
            market = await insert_market(connection, f"{likes}, {dislikes}", MarketState.PROPOSED)
            await insert_votes(connection, "proposal_votes", market, likes, dislikes)
        found = await due_markets.voted_proposals(connection, minimum_votes=10, threshold_bps=7000, now=NOON)

    # With enough of the dislikes there are ten votes; with all of them, none would pass.
    assert set(found) == {market_id("10, 90"), market_id("9, 1"), market_id("7, 90")}


async def test_what_is_due_for_approval_is_what_the_rule_says_of_every_vote(database: Database) -> None:
    rng = random.Random(7)
    minimum, threshold_bps, traders = 6, 7000, {wallet(f"voter {number}") for number in range(0, 20, 2)}
    expected = set()
    async with database.service() as connection:
        other = await insert_market(connection, "other")
        for trader in traders:
            await insert(connection, "user_positions", market_id=other, user_wallet=trader, trades_count=1)
        for number in range(150):
            market = await insert_market(connection, f"market {number}", MarketState.PROPOSED)
            likes, dislikes = rng.randrange(10), rng.randrange(10)
            await insert_votes(connection, "proposal_votes", market, likes, dislikes)
            against = [wallet(f"voter {voter}") in traders for voter in range(likes, likes + dislikes)]
            # Those who have traded count in any case, of the others any number may.
            possible = range(likes + sum(against), likes + dislikes + 1)
            if any(total >= minimum and likes * 10_000 // total >= threshold_bps for total in possible):
                expected.add(market)
        found = await due_markets.voted_proposals(
            connection, minimum_votes=minimum, threshold_bps=threshold_bps, now=NOON
        )
    assert 10 < len(expected) < 140
    assert set(found) == expected


async def test_only_proposals_are_due_for_approval(database: Database) -> None:
    async with database.service() as connection:
        for state in MarketState:
            market = await insert_market(connection, state.name, state)
            await insert_votes(connection, "proposal_votes", market, 10, 0)
        found = await due_markets.voted_proposals(connection, minimum_votes=10, threshold_bps=7000, now=NOON)

    assert found == (market_id("PROPOSED"),)


async def test_a_dispute_is_due_when_its_time_has_passed_with_or_without_votes(database: Database) -> None:
    async with database.service() as connection:
        voted = await insert_market(
            connection, "voted", MarketState.DISPUTED, dispute_initiated_at=NOON - HOUR
        )
        silent = await insert_market(connection, "silent", MarketState.DISPUTED, dispute_initiated_at=NOON)
        await insert_market(
            connection, "running", MarketState.DISPUTED, dispute_initiated_at=NOON + timedelta(seconds=1)
        )
        await insert_votes(connection, "dispute_votes", voted, 2, 1)
        found = await to_close(connection)

    assert found == (voted, silent)


async def test_a_dispute_is_due_once_an_admin_has_decided(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.DISPUTED, dispute_initiated_at=NOON + HOUR)
        await decisions.record(
            connection,
            market,
            MarketState.DISPUTED,
            decision=Decision.REFUND,
            because="nobody could know",
            decided_by=None,
        )
        assert await to_close(connection) == (market,)


async def test_resolved_markets_are_due_oldest_first_and_not_before_their_time(database: Database) -> None:
    async with database.service() as connection:
        for name, proposed_at in (
            ("second", NOON - HOUR),
            ("first", NOON - 2 * HOUR),
            ("early", NOON + HOUR),
        ):
            await insert_resolved(connection, name, proposed_at)
        await insert_market(connection, "active", resolution_proposed_at=NOON - 3 * HOUR)
        found = await undisputed(connection, NOON, 10)
        limited = await undisputed(connection, NOON, 1)

    assert [one.id for one in found] == [market_id("first"), market_id("second")]
    assert [one.id for one in limited] == [market_id("first")]


async def test_what_a_stranger_proposed_is_not_due_unless_an_admin_keeps_it(database: Database) -> None:
    async with database.service() as connection:
        stranger = await insert_resolved(connection, "stranger", NOON - HOUR, resolver="stranger")
        trusted = await insert_resolved(connection, "trusted", NOON - HOUR, resolver="trusted")
        trusted_wallets = [wallet("trusted")]
        found = await due_markets.undisputed(connection, NOON, NOON, 10, trusted_wallets)
        assert [(one.id, one.kept) for one in found] == [(trusted, False)]
        assert await due_markets.strangers_resolutions(connection, trusted_wallets) == (stranger,)
        await decisions.record(
            connection,
            stranger,
            MarketState.RESOLVING,
            decision=Decision.KEEP,
            because="it is true all the same",
            decided_by=wallet("admin"),
        )
        found = await due_markets.undisputed(connection, NOON, NOON, 10, trusted_wallets)

    assert {(one.id, one.kept) for one in found} == {(trusted, False), (stranger, True)}


async def test_a_market_that_keeps_failing_does_not_keep_the_others_waiting(database: Database) -> None:
    async with database.service() as connection:
        failing = await insert_resolved(connection, "failing", NOON - 2 * HOUR)
        await insert_resolved(connection, "good", NOON - HOUR)
        error = await finalization_errors.record(
            connection,
            failing,
            task="market_monitor",
            error_code="BoundedLossExceeded",
            error_message="the loss is too great",
            now=NOON,
        )
        while_waiting = await undisputed(connection, NOON, 1)
        afterwards = await undisputed(connection, error.next_attempt_at, 1)

    assert [one.id for one in while_waiting] == [market_id("good")]
    assert [one.id for one in afterwards] == [failing]


async def open_errors(connection: Connection) -> list[tuple[str, int]]:
    rows = await connection.fetch(
        "select market_id, attempt_count from market_finalization_errors where resolved_at is null"
    )
    return [tuple(row) for row in rows]


async def test_a_market_has_one_open_error_whose_pauses_double_up_to_a_day(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.RESOLVING, resolution_proposed_at=NOON)
        pauses = []
        for attempt in range(1, 12):
            error = await finalization_errors.record(
                connection, market, task="t", error_code="x", error_message=f"attempt {attempt}", now=NOON
            )
            pauses.append((error.next_attempt_at - NOON).total_seconds())
        assert await open_errors(connection) == [(market, error.attempt_count)]

        await finalization_errors.resolve(connection, market, resolved_by="auto", now=NOON)
        assert await open_errors(connection) == []
        fresh = await finalization_errors.record(
            connection, market, task="t", error_code="x", error_message="again", now=NOON
        )

    assert pauses == [300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400]
    assert (error.attempt_count, error.error_message) == (11, "attempt 11")
    assert fresh.attempt_count == 1


async def test_solved_errors_are_forgotten_in_the_end(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.RESOLVING)
        await finalization_errors.record(
            connection, market, task="t", error_code="x", error_message="x", now=NOON
        )
        then = await connection.fetchval("select now() - interval '89 days'")
        await finalization_errors.resolve(connection, market, resolved_by="auto", now=then)
    assert await delete_expired(database, "market_finalization_errors") == 0
    assert await delete_expired(database, "market_finalization_errors", failures_days=88) == 1


async def test_holders_petition_for_a_dispute_once_each(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.RESOLVING, resolution_proposed_at=NOON)
        for name, stake in (("alice", 60), ("bob", 30), ("carol", 10), ("dust", 1)):
            await insert_holder(connection, market, name, stake)

    async def ask(name: str) -> bool:
        async with database.caller(Caller(wallet(name))) as connection:
            return await dispute_requests.request(connection, market, wallet(name))

    assert await ask("alice")
    assert not await ask("alice")
    assert await ask("bob")
    for outsider in ("stranger",):
        with pytest.raises(DisputeRequestRefused):
            await ask(outsider)
    async with database.service() as connection:
        assert await dispute_requests.counts(connection, market, 10) == RequestCounts(requests=2, holders=3)
        (petition,) = await due_markets.petitions(connection, 10)
    assert (petition.id, petition.requests, petition.holders) == (market, 2, 3)
    assert (petition.requests_stake, petition.holders_stake) == (90, 101)


async def test_no_dispute_is_asked_for_outside_of_resolving(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.ACTIVE)
        await insert_holder(connection, market, "alice", 10)

    async def ask() -> None:
        async with database.caller(Caller(wallet("alice"))) as connection:
            await dispute_requests.request(connection, market, wallet("alice"))

    with pytest.raises(DisputeRequestRefused):
        await ask()


async def test_a_dislike_weighs_from_its_wallets_first_trade_until_a_fork_takes_that(
    database: Database,
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.PROPOSED)
        await insert_votes(connection, "proposal_votes", market, likes=7, dislikes=4)

        async def is_due() -> bool:
            found = await due_markets.proposals_to_close(
                connection, minimum_votes=10, threshold_bps=7_000, now=NOON, after=None, limit=9
            )
            return [one.id for one in found] == [market]

        assert await is_due()
        for number in range(7, 11):
            held = {"market_id": market, "user_wallet": wallet(f"voter {number}")}
            await insert(connection, "user_positions", **held, trades_count=1)
        assert not await is_due()
        await connection.execute("update user_positions set trades_count = 0")
        assert await is_due()
        await connection.execute("update user_positions set trades_count = 2")
        assert not await is_due()
        await connection.execute("delete from user_positions")
        assert await is_due()


async def test_votes_that_are_closed_are_not_closed_again(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.PROPOSED)
        await insert_votes(connection, "proposal_votes", market, likes=10, dislikes=0)
        await tallies.close(connection, VoteKind.PROPOSAL, market)
        found = await due_markets.proposals_to_close(
            connection, minimum_votes=10, threshold_bps=7_000, now=NOON, after=None, limit=9
        )
        assert found == []
        assert await tallies.not_counted(connection, VoteKind.PROPOSAL, 9) == [market]
