from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from tests.integration.store.rows import NOON, insert, insert_market, market_id, signature, wallet
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import CountingRule, VoteCounts
from zmartd.store import tallies, voter_checks, voters, votes
from zmartd.store.markets import MarketNotFound
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.tallies import Tally
from zmartd.store.voter_checks import NOT_BEGUN, Survey
from zmartd.store.votes import AlreadyVoted, NotAHolder, Vote, VotingClosed

NOW = datetime(2026, 6, 1, tzinfo=UTC)

ALICE = wallet("alice")
RULE = CountingRule(threshold_bps=7_000, min_votes=1)
STATES_BUT = {kind: [state for state in MarketState if state is not kind.open_state] for kind in VoteKind}


async def cast(database: Database, kind: VoteKind, market: str, voter: str, vote: bool = True) -> Vote:
    async with database.caller(Caller(voter)) as connection:
        return await votes.cast(connection, kind, market, voter, vote)


async def open_market(database: Database, kind: VoteKind) -> str:
    """A market to vote on, in which Alice and Bob held shares."""
    async with database.service() as connection:
        market = await insert_market(connection, "m", kind.open_state)
        for holder in (ALICE, wallet("bob")):
            await insert(connection, "dispute_electorate", market_id=market, user_wallet=holder, stake=1)
    return market


async def hold(database: Database, market: str, holder: str, stake: int) -> None:
    async with database.service() as connection:
        await insert(connection, "dispute_electorate", market_id=market, user_wallet=holder, stake=stake)


async def take(database: Database, kind: VoteKind, market: str) -> Tally:
    """Close the votes and count all of them."""
    async with database.service() as connection:
        await tallies.close(connection, kind, market)
    async with database.service() as connection:
        if kind is VoteKind.DISPUTE:
            tally = await tallies.count_dispute(connection, market, also_unverified=True)
        else:
            tally = await tallies.count_proposal(connection, market, everybody=True)
    assert tally is not None
    return tally


async def counts(database: Database, market: str) -> dict[VoteKind, VoteCounts]:
    async with database.service() as connection:
        _, live = (await votes.live(connection, [market]))[market]
    return {kind: live.of(kind) for kind in VoteKind}


@pytest.mark.parametrize("kind", VoteKind)
async def test_a_vote_is_counted_and_its_wallet_can_read_it(database: Database, kind: VoteKind) -> None:
    market = await open_market(database, kind)

    given = await cast(database, kind, market, ALICE, vote=False)

    assert (given.vote, given.source, given.tx_signature) == (False, "api", None)
    assert (await counts(database, market))[kind] == VoteCounts(yes=0, no=1)
    async with database.caller(Caller(ALICE)) as connection:
        assert await votes.find(connection, kind, market, ALICE) == given
    async with database.caller(Caller(wallet("bob"))) as connection:
        assert await votes.find(connection, kind, market, ALICE) is None


@pytest.mark.parametrize("kind", VoteKind)
async def test_a_second_vote_is_refused_and_the_first_one_stays(database: Database, kind: VoteKind) -> None:
    market = await open_market(database, kind)
    await cast(database, kind, market, ALICE, vote=True)

    with pytest.raises(AlreadyVoted):
        await cast(database, kind, market, ALICE, vote=False)
    assert (await counts(database, market))[kind] == VoteCounts(yes=1, no=0)


@pytest.mark.parametrize(
    ("kind", "state"), [(kind, state) for kind in VoteKind for state in STATES_BUT[kind]]
)
async def test_no_vote_is_taken_in_any_other_state(
    database: Database, kind: VoteKind, state: MarketState
) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", state)

    with pytest.raises(VotingClosed, match=f"this one is {state.name}"):
        await cast(database, kind, market, ALICE)


@pytest.mark.parametrize("kind", VoteKind)
async def test_a_vote_on_an_unknown_market_names_it(database: Database, kind: VoteKind) -> None:
    with pytest.raises(MarketNotFound) as raised:
        await cast(database, kind, market_id("nowhere"), ALICE)
    assert raised.value.details.given == market_id("nowhere")


async def test_a_vote_from_the_chain_is_taken_after_the_state_has_moved_on(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.ACTIVE)
        await insert(
            connection,
            "proposal_votes",
            market_id=market,
            user_wallet=ALICE,
            vote=True,
            source="chain",
            tx_signature=signature("vote"),
        )

    assert (await counts(database, market))[VoteKind.PROPOSAL] == VoteCounts(yes=1, no=0)


async def test_nobody_votes_in_the_name_of_another_wallet(database: Database) -> None:
    market = await open_market(database, VoteKind.PROPOSAL)

    async def vote_as_bob_for_alice() -> None:
        async with database.caller(Caller(wallet("bob"))) as connection:
            await votes.cast(connection, VoteKind.PROPOSAL, market, ALICE, vote=True)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await vote_as_bob_for_alice()


@pytest.mark.parametrize("kind", VoteKind)
async def test_a_tally_closes_the_vote_until_it_is_released(database: Database, kind: VoteKind) -> None:
    market = await open_market(database, kind)
    await cast(database, kind, market, ALICE)

    tally = await take(database, kind, market)
    assert (tally.counts, tally.signature) == (VoteCounts(yes=1, no=0), None)
    with pytest.raises(VotingClosed, match="are being counted"):
        await cast(database, kind, market, wallet("bob"))

    async with database.service() as connection:
        await tallies.release(connection, kind, market)
    await cast(database, kind, market, wallet("bob"))
    assert (await take(database, kind, market)).counts == VoteCounts(yes=2, no=0)


async def test_an_open_tally_is_not_taken_again_and_survives_the_daemon(database: Database) -> None:
    market = await open_market(database, VoteKind.PROPOSAL)
    await cast(database, VoteKind.PROPOSAL, market, ALICE)
    first = await take(database, VoteKind.PROPOSAL, market)
    async with database.service() as connection:
        await insert(
            connection,
            "proposal_votes",
            market_id=market,
            user_wallet=wallet("late"),
            vote=True,
            source="chain",
            tx_signature=signature("late"),
        )
        await tallies.set_signature(connection, VoteKind.PROPOSAL, market, signature("tally"), RULE)

    again = await take(database, VoteKind.PROPOSAL, market)

    assert (again.counts, again.taken_at, again.signature) == (
        first.counts,
        first.taken_at,
        signature("tally"),
    )
    async with database.service() as connection:
        assert await tallies.counted(connection, VoteKind.PROPOSAL, NOON, limit=9) == [again]
        assert await tallies.counted(connection, VoteKind.DISPUTE, NOON, limit=9) == []


async def test_every_vote_is_either_in_the_tally_or_refused(database: Database) -> None:
    """Wallets vote while the tally is taken: what was accepted must be exactly what was counted."""
    market = await open_market(database, VoteKind.PROPOSAL)
    voters = [wallet(f"voter {number}") for number in range(40)]
    some_have_voted = asyncio.Event()

    async def vote(number: int) -> bool:
        try:
            await cast(database, VoteKind.PROPOSAL, market, voters[number], vote=number % 3 > 0)
        except VotingClosed:
            return False
        if number >= 4:
            some_have_voted.set()
        return True

    async def count() -> Tally:
        await some_have_voted.wait()
        return await take(database, VoteKind.PROPOSAL, market)

    tally, accepted = await asyncio.gather(count(), asyncio.gather(*(vote(number) for number in range(40))))

    assert sum(accepted) >= 5
    assert tally.counts.total == sum(accepted)
    assert (await counts(database, market))[VoteKind.PROPOSAL] == tally.counts


async def test_a_disputes_votes_are_counted_by_wallet_and_by_stake_and_others_not_at_all(
    database: Database,
) -> None:
    market = await open_market(database, VoteKind.DISPUTE)
    for name, stake in (("whale", 1_000), ("silent", 500), ("gift", 0)):
        await hold(database, market, wallet(name), stake)
    await cast(database, VoteKind.DISPUTE, market, ALICE, vote=False)
    await cast(database, VoteKind.DISPUTE, market, wallet("bob"), vote=False)
    await cast(database, VoteKind.DISPUTE, market, wallet("whale"), vote=True)
    await cast(database, VoteKind.DISPUTE, market, wallet("gift"), vote=True)
    with pytest.raises(NotAHolder):
        await cast(database, VoteKind.DISPUTE, market, wallet("stranger"))
    async with database.service() as connection:
        await insert(
            connection,
            "dispute_votes",
            market_id=market,
            user_wallet=wallet("stranger"),
            vote=True,
            source="chain",
            tx_signature=signature("stranger"),
        )
        _, live = (await votes.live(connection, [market]))[market]
        assert live.not_counted == 1

    tally = await take(database, VoteKind.DISPUTE, market)

    assert (tally.counts, tally.stake) == (VoteCounts(2, 2), VoteCounts(1_000, 2))
    assert (tally.electorate_wallets, tally.electorate_stake, tally.not_counted) == (5, 1_502, 1)


async def test_a_proposals_votes_count_for_the_wallets_that_are_eligible(database: Database) -> None:
    market = await open_market(database, VoteKind.PROPOSAL)
    for name in ("trader", "poor"):
        await cast(database, VoteKind.PROPOSAL, market, wallet(name))
    async with database.service() as connection:
        await insert(
            connection, "user_positions", market_id=market, user_wallet=wallet("trader"), trades_count=1
        )
        found = await voters.on_proposal(connection, market, "", 9)
        assert {voter.wallet: voter.has_traded for voter in found} == {
            wallet("trader"): True,
            wallet("poor"): False,
        }
        await tallies.close(connection, VoteKind.PROPOSAL, market)
        unknown = await tallies.count_proposal(connection, market, everybody=False)
        assert unknown is not None
        assert unknown.counted_at is None
        everywhere = Survey(wallet("poor"), is_complete=True)
        await voter_checks.record_asked(
            connection, market, NOT_BEGUN, everywhere, holders=[], are_final=True, requests=1
        )
        tally = await tallies.count_proposal(connection, market, everybody=False)
    assert tally is not None
    assert (tally.counts, tally.not_counted) == (VoteCounts(1, 0), 1)
