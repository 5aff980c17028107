"""Questions that another open market asks already."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.http.rest.rest_stage import Stage
from tests.integration.http.rest.test_chain_time import shown_when
from tests.integration.store.rows import cid, wallet
from zmartd.store import metadata
from zmartd.store.metadata import MarketMetadata, PendingLimits, SimilarMarketExists
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller

RAIN = "Will it rain in Zürich tomorrow?"


async def ask(stage: Stage, question: str, **changes: object) -> tuple[int, dict[str, object]]:
    """Register a question by BOB."""
    body = {"question": question, "category": "science", "initial_liquidity": "10000000000"}
    end_date = await stage.in_days(20)
    answer = await stage.bob.post("/api/markets", {**body, "end_date": end_date, **changes})
    return answer.status, answer.body


@pytest.mark.parametrize(
    "twin",
    [
        RAIN,
        "will it rain in ZÜRICH, tomorrow",
        "Will it ra\u200din in Zu\u0308rich tomorrow?",
        "W\u0456ll \u0456t r\u0430\u0456n in Z\u00fcrich tomorrow?",  # Cyrillic letters
        "\uff37\uff49\uff4c\uff4c\u3000it rain in Zürich tomorrow\uff1f",
        "Wi11 it rain in Zürich tomorrow?",
    ],
)
async def test_a_twin_is_answered_with_the_market_that_it_copies(stage: Stage, twin: str) -> None:
    market_id = await stage.proposed_market()
    status, refused = await ask(stage, twin)
    assert (status, refused["code"]) == (409, "similar_market_exists")
    on_chain = {"state": "PROPOSED", "pending": False}
    assert refused["details"] == {"market_id": market_id, "question": RAIN, **on_chain}
    assert "allow_similar" in str(refused["message"])

    status, registered = await ask(stage, twin, allow_similar=True)
    assert status == 201, registered


async def test_a_market_that_is_only_registered_has_twins_as_well(stage: Stage) -> None:
    market_id = (await stage.propose()).body["market"]["id"]
    status, refused = await ask(stage, RAIN)
    assert (status, refused["details"]) == (
        409,
        {"market_id": market_id, "question": RAIN, "state": None, "pending": True},
    )
    again = await stage.propose(description="By another weather station.")
    assert (again.status, again.body["code"]) == (409, "similar_market_exists")


async def test_one_on_the_chain_is_named_before_one_that_is_only_registered(stage: Stage) -> None:
    await stage.propose()
    landed = await stage.propose(allow_similar=True, description="Created.")
    await stage.creator.relay(stage.creator.sign(landed.body["transaction"]))
    _, refused = await ask(stage, RAIN)
    assert refused["details"]["market_id"] == landed.body["market"]["id"]  # type: ignore[index]  # JSON


async def test_the_same_registration_again_is_no_twin_of_itself(stage: Stage) -> None:
    end_date = await stage.in_days(30)
    answers = [await stage.propose(end_date=end_date) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]


@pytest.mark.parametrize(
    "change",
    [
        "update markets set state = 'CANCELLED'",
        "update markets set state = 'FINALIZED'",
        "update market_metadata set end_date = now() - interval '1 day'",
    ],
)
async def test_a_market_that_is_over_can_be_asked_again(stage: Stage, change: str) -> None:
    await stage.proposed_market()
    async with stage.api.database.service() as connection:
        await connection.execute(change)
    status, registered = await ask(stage, RAIN)
    assert status == 201, registered


async def test_a_market_that_is_over_by_the_clock_of_the_chain_can_be_asked_again(stage: Stage) -> None:
    await stage.proposed_market(end_date=await stage.in_days(5))
    await stage.travel(6 * 86_400)
    await shown_when(stage, "/api/markets", lambda body: body["markets"][0]["ended"])
    status, registered = await ask(stage, RAIN)
    assert status == 201, registered


async def test_a_market_is_not_over_because_this_machine_is_late(database: Database) -> None:
    one, other = registration("one"), registration("other")
    async with database.caller(Caller(one.creator_wallet)) as connection:
        await metadata.register(connection, one, LIMITS)
    async with database.service() as connection:
        await connection.execute("update market_metadata set end_date = now() - interval '1 hour'")
    earlier = datetime.now(UTC) - timedelta(days=1)
    async with database.caller(Caller(other.creator_wallet)) as connection:
        with pytest.raises(SimilarMarketExists):
            await metadata.register(connection, other, LIMITS, no_twin_at=earlier)


async def test_a_different_question_is_no_twin(stage: Stage) -> None:
    await stage.proposed_market()
    for question in ("Will it rain in Zürich today?", "Will it rain in Zürich tomorrow? > 5 mm?"):
        status, registered = await ask(stage, question)
        assert status == 201, registered


async def test_a_market_that_is_on_the_chain_already_is_registered_whatever_it_asks(stage: Stage) -> None:
    elsewhere = await stage.propose(market_id="cd" * 32)
    async with stage.api.database.service() as connection:
        await connection.execute("delete from market_metadata")
    await stage.creator.relay(stage.creator.sign(elsewhere.body["transaction"]))
    status, registered = await ask(stage, RAIN)
    assert status == 201, registered

    told = await stage.propose(market_id="cd" * 32, end_date=elsewhere.body["market"]["end_date"])
    assert (told.status, told.body["market"]["question"]) == (201, RAIN)


LIMITS = PendingLimits(9, 2**20)


def registration(name: str) -> MarketMetadata:
    return MarketMetadata(
        market_id=bytes(name.encode().ljust(32, b"\0")).hex(),
        creator_wallet=wallet(name),
        on_chain_address=wallet(f"market {name}"),
        question=RAIN,
        description="",
        category="science",
        tags=(),
        end_date=datetime.now(UTC) + timedelta(days=3),
        cid=cid(name),
        document=b"{}",
        b_parameter=10**11,
        initial_liquidity=10**9,
    )


async def test_of_two_that_ask_the_same_at_the_same_time_one_is_first(database: Database) -> None:
    one, other = registration("one"), registration("other")

    async def register(wanted: MarketMetadata) -> None:
        async with database.caller(Caller(wanted.creator_wallet)) as connection:
            await metadata.register(connection, wanted, LIMITS, no_twin_at=datetime.now(UTC))

    async with database.caller(Caller(one.creator_wallet)) as connection:
        await metadata.register(connection, one, LIMITS, no_twin_at=datetime.now(UTC))
        second = asyncio.create_task(register(other))
        async with database.service() as observer:
            while not await observer.fetchval("select count(*) from pg_locks where not granted"):
                assert not second.done(), "it waits for the first to commit"
    with pytest.raises(SimilarMarketExists) as refused:
        await second
    assert refused.value.details.market_id == one.market_id
