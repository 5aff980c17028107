"""All that the answer about a market is made of is what each part of it is by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.store.rows import (
    NOON,
    cid,
    insert,
    insert_market,
    insert_position,
    insert_registration,
    insert_trade,
    signature,
    wallet,
)
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import NO_VOTES, VoteCounts
from zmartd.store import evidence, market_details, markets, metadata, positions, votes
from zmartd.store.postgres.database import Database

STATES = (MarketState.PROPOSED, MarketState.ACTIVE, MarketState.DISPUTED, MarketState.FINALIZED)
COUNTS = {MarketState.PROPOSED: VoteCounts(3, 2), MarketState.DISPUTED: VoteCounts(2, 1)}


@pytest.mark.parametrize("state", STATES)
async def test_the_details_of_a_market_are_those_that_are_read_one_by_one(
    database: Database, state: MarketState
) -> None:
    async with database.service() as connection:
        market = await insert_market(
            connection,
            "m",
            state,
            ipfs_question_hash=cid("m"),
            ipfs_evidence_hash=cid("outcome"),
            resolver_wallet=wallet("resolver"),
            dispute_initiator=wallet("disputer"),
            final_outcome=True if state is MarketState.FINALIZED else None,
            current_price_yes=0.75,
        )
        await insert_registration(
            connection, "m", slug="will-it-rain", image_url="https://example.com/rain.png"
        )
        for number in range(3):
            holder = wallet(f"voter {number}")
            await insert_position(connection, market, holder)
            await insert(
                connection, "dispute_electorate", market_id=market, user_wallet=holder, stake=1_100_000
            )
            age = timedelta(hours=30 - 10 * number)
            await insert_trade(
                connection, f"{number}", market, holder, block_time=NOON - age, price_after=0.6
            )
        for table, most in (("proposal_votes", 5), ("dispute_votes", 4)):
            for number in range(most):
                await insert(
                    connection,
                    table,
                    market_id=market,
                    user_wallet=wallet(f"voter {number}"),
                    vote=number not in (1, 4),
                    source="chain",
                    tx_signature=signature(f"{table} {number}"),
                )
        for kind, by, name in (("resolution", "resolver", "outcome"), ("dispute", "disputer", "against")):
            await insert(
                connection,
                "evidence",
                market_id=market,
                user_wallet=wallet(by),
                kind=kind,
                cid=cid(name),
                document=b"{}",
            )
    async with database.service_reader() as reader:
        found = await market_details.find(reader, market)
        by_slug = await market_details.find_by_slug(reader, "will-it-rain")
        assert found is not None
        assert found == by_slug
        assert found == await market_details.find(reader, found.market.on_chain_address)
        assert found.market == await markets.get(reader, market)
        assert found.evidence == await evidence.shown(reader, market)
        assert set(found.evidence) == {"resolution", "dispute"}
        assert found.texts == await metadata.resolution_texts(reader, market)
        assert found.has_claims == bool(await positions.claimable(reader, [market]))
        assert found.has_claims == (state is MarketState.FINALIZED)
        if state in COUNTS:
            kind = VoteKind.PROPOSAL if state is MarketState.PROPOSED else VoteKind.DISPUTE
            assert found.votes == (await votes.so_far(reader, kind, [market]))[market]
            assert found.votes.counts == COUNTS[state]
            by_balance = VoteCounts(1, 1) if kind is VoteKind.PROPOSAL else VoteCounts(0, 0)
            assert found.votes.by_balance == by_balance
        else:
            assert found.votes == NO_VOTES
        assert (found.day.traders, found.day.price_yes) == (3, 750_000_000)


async def test_there_are_no_details_of_a_market_that_is_not_there(database: Database) -> None:
    async with database.service_reader() as reader:
        assert await market_details.find(reader, "m") is None
        assert await market_details.find_by_slug(reader, "m") is None
