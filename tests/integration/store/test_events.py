from __future__ import annotations

from tests.integration.store.rows import insert, insert_market, signature, wallet
from zmartd.store import events
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY


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
