from __future__ import annotations

from datetime import timedelta

from tests.integration.store.rows import NOON, insert, insert_market, wallet
from zmartd.market.lifecycle import MarketState
from zmartd.store import due_moments, streams
from zmartd.store.due_moments import AGGREGATOR, PROMPTS_OF_COUNTS, MomentRules
from zmartd.store.postgres.database import Database
from zmartd.tasks.due_watch import HORIZON_SECONDS

RULES = MomentRules(finalization_delay_seconds=0, safety_margin_seconds=60, trusted=())


async def changed(database: Database) -> set[str]:
    """The markets whose votes or requests a daemon looks at that has looked a moment ago."""
    async with database.service() as connection:
        await insert(connection, "task_schedules", task=AGGREGATOR, schedule="every 300 s", next_due_at=NOON)
        horizon = await connection.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text")
        until = NOON + timedelta(minutes=1)
        look = await due_moments.look(
            connection, [AGGREGATOR], RULES, now=NOON, until=until, horizon=horizon, limit=10
        )
    return set(look.changed)


async def test_a_horizon_is_not_beyond_the_ids_that_a_crash_would_give_again(database: Database) -> None:
    async with database.service() as connection:
        await streams.append(connection, [(f"market:{'5a' * 32}", b"a")])
        newest = int(await connection.fetchval("select pg_current_xact_id()::text"))
    async with database.service() as connection:  # has written nothing
        await connection.execute("select pg_current_xact_id()")
    async with database.service_reader() as reader:
        look = await due_moments.look(
            reader, [AGGREGATOR], RULES, now=NOON, until=NOON, horizon=None, limit=10
        )
    assert int(look.horizon) <= newest + 1


async def test_votes_that_came_to_nothing_prompt_a_run_again_and_again_but_not_for_ever(
    database: Database,
) -> None:
    async with database.service() as connection:
        markets = [await insert_market(connection, name, MarketState.PROPOSED) for name in ("a", "b", "c")]
        for market_id, prompts, minutes in zip(
            markets, (PROMPTS_OF_COUNTS - 1, PROMPTS_OF_COUNTS, 1), (-1, -1, 1), strict=True
        ):
            await connection.execute(
                """
                insert into prompted_moments (market_id, task, kind, due_at, prompts, again_at)
                values ($1, $2, 'approval', $3, $4, clock_timestamp() + make_interval(mins => $5))
                """,
                market_id,
                AGGREGATOR,
                NOON,
                prompts,
                minutes,
            )
    assert await changed(database) == {markets[0]}


async def test_requests_for_a_dispute_are_looked_at_for_as_long_as_a_horizon_is_good(
    database: Database,
) -> None:
    async with database.service() as connection:
        markets = [await insert_market(connection, name, MarketState.RESOLVING) for name in ("new", "old")]
        for market_id, seconds in zip(markets, (HORIZON_SECONDS, HORIZON_SECONDS + 3_600), strict=True):
            await connection.execute(
                """
                insert into dispute_requests (market_id, user_wallet, requested_at)
                values ($1, $2, clock_timestamp() - make_interval(secs => $3))
                """,
                market_id,
                wallet("holder"),
                seconds,
            )
    assert await changed(database) == {markets[0]}
