from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from tests.integration.store.expiry import delete_expired
from tests.integration.store.rows import NOON, cid, insert, insert_market, market_id, wallet
from tests.statements import execute
from zmartd.market.lifecycle import MarketState
from zmartd.market.slug import slug_base
from zmartd.store import market_list, markets, metadata
from zmartd.store.market_order import MarketFilter, Order
from zmartd.store.markets import MarketNotFound
from zmartd.store.metadata import (
    MarketMetadata,
    PendingLimits,
    PendingTextsDetails,
    PendingTextsTooLarge,
    TooManyPendingMarkets,
)
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY, Caller

CREATOR = wallet("creator")
DOCUMENT = MarketMetadata(
    market_id=market_id("m"),
    creator_wallet=CREATOR,
    on_chain_address=wallet("market m"),
    question="Will it rain tomorrow?",
    description="Anywhere in town.",
    category="science",
    tags=("rain", "weather"),
    end_date=NOON + timedelta(days=30),
    cid=cid("m"),
    document=b'{"question":"Will it rain tomorrow?"}',
    b_parameter=1_000_000_000_000,
    initial_liquidity=5_000_000_000,
)
LIMITS = PendingLimits(20, 2**20)


async def test_a_market_is_found_by_its_id_and_by_its_address(database: Database) -> None:
    async with database.service() as connection:
        await insert_market(
            connection, "m", shares_yes=2**64 - 1, current_price_yes=0.75, current_price_no=0.25
        )

    async with database.caller(ANYBODY) as connection:
        market = await markets.get(connection, market_id("m"))
        assert await markets.get(connection, wallet("market m")) == market
    assert market.state is MarketState.ACTIVE
    assert market.shares_yes == 2**64 - 1
    assert market.price_yes == 750_000_000
    assert market.created_at == NOON
    assert market.tags == ()


async def test_an_unknown_market_is_not_found(database: Database) -> None:
    async with database.caller(ANYBODY) as connection:
        assert await markets.find(connection, market_id("nowhere")) is None
        with pytest.raises(MarketNotFound):
            await markets.get(connection, "'; drop table markets; --")


async def test_a_page_has_the_newest_that_match_and_says_how_many_there_are(database: Database) -> None:
    async with database.service() as connection:
        for day in range(5):
            await insert_market(
                connection, f"active {day}", category="crypto", created_at=NOON + timedelta(days=day)
            )
        await insert_market(connection, "proposed", MarketState.PROPOSED, category="crypto")
        await insert_market(connection, "sports", category="sports", creator_wallet=wallet("else"))

    async def listed(where: MarketFilter, limit: int = 10, offset: int = 0) -> tuple[list[str], int]:
        async with database.caller(ANYBODY) as connection:
            page = await market_list.page(connection, where, Order(), limit, offset=offset)
        return [market.id for market in page.markets], page.total

    active_crypto = MarketFilter(states=(MarketState.ACTIVE,), category="crypto")
    assert await listed(active_crypto, limit=2) == ([market_id("active 4"), market_id("active 3")], 5)
    assert await listed(active_crypto, limit=2, offset=4) == ([market_id("active 0")], 5)
    assert await listed(active_crypto, offset=100) == ([], 5)
    assert await listed(active_crypto, limit=0) == ([], 5)
    assert await listed(MarketFilter(states=(MarketState.PROPOSED,))) == ([market_id("proposed")], 1)
    assert await listed(MarketFilter(creator=wallet("else"))) == ([market_id("sports")], 1)
    assert (await listed(MarketFilter()))[1] == 7


async def test_markets_that_an_offset_skips_cost_no_search_for_what_belongs_to_them(
    database: Database, database_url: str
) -> None:
    scans = "select seq_scan + coalesce(idx_scan, 0) from pg_stat_xact_user_tables where relname = $1"
    async with database.service() as connection:
        for number in range(40):
            await insert_market(connection, f"market {number}")
    await execute(database_url, "analyze markets")  # autovacuum may have seen it empty

    async with database.service() as connection:
        begun = await connection.fetchval(scans, "market_metadata")
        page = await market_list.page(connection, MarketFilter(), Order(), 2, offset=35)
        looked_up = await connection.fetchval(scans, "market_metadata") - begun
    assert len(page.markets) == 2
    assert looked_up <= 6, "slug and picture of two markets and the one after them"


async def test_what_leaves_a_market_is_no_longer_accumulated(database: Database) -> None:
    async with database.service() as connection:
        await insert_market(
            connection, "m", MarketState.FINALIZED, resolver_fees_earned=200, lp_fees_earned=500
        )
        accumulated = "select accumulated_resolver_fees, accumulated_lp_fees from markets"
        before = await connection.fetchrow(accumulated)
        await connection.execute("update markets set resolver_paid = true, liquidity_withdrawn = 900")
        after = await connection.fetchrow(accumulated)

    assert before is not None
    assert tuple(before) == (200, 500)
    assert after is not None
    assert tuple(after) == (0, 0)


async def test_a_registration_is_found_before_the_chain_knows_the_market(database: Database) -> None:
    async with database.caller(Caller(CREATOR)) as connection:
        registration = await metadata.register(connection, DOCUMENT, LIMITS)
    assert registration.is_new
    assert registration.metadata == DOCUMENT

    async with database.caller(ANYBODY) as connection:
        for reference in (DOCUMENT.market_id, DOCUMENT.on_chain_address):
            found = await metadata.find(connection, reference)
            assert found is not None
            assert found.metadata == DOCUMENT
        assert await metadata.find(connection, market_id("nowhere")) is None


async def test_registering_again_keeps_what_was_first(database: Database) -> None:
    async with database.caller(Caller(CREATOR)) as connection:
        await metadata.register(connection, DOCUMENT, LIMITS)
    changed = msgspec.structs.replace(DOCUMENT, question="Will it snow tomorrow?", cid=cid("snow"))

    async with database.caller(Caller(CREATOR)) as connection:
        again = await metadata.register(connection, changed, LIMITS)

    assert not again.is_new
    assert again.metadata == DOCUMENT


async def test_a_market_takes_over_what_its_creator_registered(database: Database) -> None:
    async with database.caller(Caller(CREATOR)) as connection:
        await metadata.register(connection, DOCUMENT, LIMITS)
    async with database.service() as connection:
        await insert_market(connection, "m", ipfs_question_hash=DOCUMENT.cid, version=7)
        assert await metadata.adopt(connection, [DOCUMENT.market_id]) == {DOCUMENT.market_id}
        assert await metadata.adopt(connection, [DOCUMENT.market_id]) == set()
        market = await markets.get(connection, DOCUMENT.market_id)

    assert (market.question, market.category, market.tags) == (DOCUMENT.question, "science", DOCUMENT.tags)
    assert market.end_date == DOCUMENT.end_date
    assert market.metadata_verified
    assert market.version == 8


@pytest.mark.parametrize("on_chain", [cid("other"), None])
async def test_texts_of_another_content_id_than_that_on_the_chain_are_not_the_market_s(
    database: Database, on_chain: str | None
) -> None:
    pictured = msgspec.structs.replace(
        DOCUMENT, document=b'{"resolution_rules":"Mine."}', image_url="https://a.example/rain.png"
    )
    async with database.caller(Caller(CREATOR)) as connection:
        await metadata.register(connection, pictured, LIMITS)
    async with database.service() as connection:
        await insert_market(connection, "m", ipfs_question_hash=on_chain, version=7)
        assert await metadata.adopt(connection, [DOCUMENT.market_id]) == set()
        market = await markets.get(connection, DOCUMENT.market_id)
        rules = (await metadata.resolution_texts(connection, DOCUMENT.market_id)).resolution_rules
        named = await metadata.find_by_slug(connection, slug_base(DOCUMENT.question) or "")

    assert (market.question, market.description, market.tags, market.end_date) == ("", "", (), None)
    assert (market.slug, market.image_url, rules, named) == (None, None, "", None)
    assert (market.metadata_verified, market.version) == (False, 7)
    # Nobody sees the question, so it keeps nobody from asking it.
    asked_again = msgspec.structs.replace(document("again"), creator_wallet=wallet("bob"))
    async with database.caller(Caller(asked_again.creator_wallet)) as connection:
        assert (await metadata.register(connection, asked_again, LIMITS, no_twin_at=NOON)).is_new


def document(name: str) -> MarketMetadata:
    return msgspec.structs.replace(DOCUMENT, market_id=market_id(name), on_chain_address=wallet(name))


async def test_a_creator_has_so_many_markets_registered_that_are_not_on_the_chain(database: Database) -> None:
    async def register(name: str) -> bool:
        try:
            async with database.caller(Caller(CREATOR)) as connection:
                await metadata.register(connection, document(name), PendingLimits(2, 2**20))
        except TooManyPendingMarkets:
            return False
        return True

    assert sum(await asyncio.gather(*(register(f"m{number}") for number in range(5)))) == 2
    async with database.service() as connection:
        kept = [row["market_id"] for row in await connection.fetch("select market_id from market_metadata")]
        await insert_market(connection, "one", id=kept[0], ipfs_question_hash=DOCUMENT.cid)
        await metadata.adopt(connection, [kept[0]])
    assert await register("one more")
    assert not await register("too many")
    async with database.caller(Caller(CREATOR)) as connection:
        assert (await metadata.register(connection, document("on the chain"), None)).is_new


async def test_the_texts_of_a_creator_s_markets_that_are_not_on_the_chain_have_a_size(
    database: Database,
) -> None:
    limits = PendingLimits(20, 2 * len(DOCUMENT.document))
    async with database.caller(Caller(CREATOR)) as connection:
        for name in ("m", "second"):
            assert (await metadata.register(connection, document(name), limits)).is_new
        assert not (await metadata.register(connection, document("m"), limits)).is_new
        with pytest.raises(PendingTextsTooLarge) as refused:
            await metadata.register(connection, document("third"), limits)
    size = len(DOCUMENT.document)
    assert refused.value.details == PendingTextsDetails(2 * size, 2 * size, size)
    async with database.service() as connection:
        await insert_market(connection, "m", ipfs_question_hash=DOCUMENT.cid)
        await metadata.adopt(connection, [market_id("m")])
    async with database.caller(Caller(CREATOR)) as connection:
        assert (await metadata.register(connection, document("third"), limits)).is_new


async def slug_of(database: Database, name: str) -> str | None:
    async with database.reader(ANYBODY) as connection:
        return (await markets.get(connection, market_id(name))).slug


async def appear(database: Database, name: str) -> None:
    """Have a registered market of CREATOR's be on the chain."""
    async with database.service() as connection:
        await insert_market(connection, name, ipfs_question_hash=DOCUMENT.cid)
        await metadata.adopt(connection, [market_id(name)])


async def test_a_market_has_a_name_from_when_it_is_on_the_chain_and_nobody_else_ever_has(
    database: Database,
) -> None:
    names = ("first", "second", "third", "fourth")
    async with database.caller(Caller(CREATOR)) as connection:
        for name in ("forgotten", *names):
            registered = await metadata.register(connection, document(name), LIMITS)
            assert registered.slug is None
    await appear(database, "first")
    assert await slug_of(database, "first") == "will-it-rain-tomorrow"

    # All at once: whoever comes later waits, and takes the next.
    await asyncio.gather(*(appear(database, name) for name in names[1:]))
    expected = {name: f"will-it-rain-tomorrow-{market_id(name)[:8]}" for name in names[1:]}
    assert {name: await slug_of(database, name) for name in names[1:]} == expected
    async with database.service() as connection:
        await connection.execute("update market_metadata set created_at = now() - interval '31 days'")
    assert await delete_expired(database, "market_metadata") == 1
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from market_metadata") == len(names)
        for name in names:
            slug = await slug_of(database, name)
            assert slug is not None
            assert await metadata.find_by_slug(connection, slug) == market_id(name)


async def test_where_others_have_the_names_of_a_market_its_whole_id_makes_one(database: Database) -> None:
    prefix, whole = "ab" * 4, "ab" * 32
    questions = {
        "plain": "Will it rain?",
        "prefixed": f"Will it rain, {prefix}?",
        "id": f"Will it rain, {whole}?",
        whole: "Will it rain?",
    }
    ids = {name: name if name == whole else market_id(name) for name in questions}
    slugs = {}
    for name, question in questions.items():
        registered = msgspec.structs.replace(document(name), market_id=ids[name], question=question)
        async with database.caller(Caller(CREATOR)) as connection:
            await metadata.register(connection, registered, LIMITS)
        async with database.service() as connection:
            await insert_market(connection, name, id=ids[name], ipfs_question_hash=DOCUMENT.cid)
            await metadata.adopt(connection, [ids[name]])
            slugs[name] = (await markets.get(connection, ids[name])).slug
    base = "will-it-rain"
    assert slugs == {
        "plain": base,
        "prefixed": f"{base}-{prefix}",
        # No question takes what belongs to an id.
        "id": f"{base}-{whole}-{ids['id'][:8]}",
        whole: f"{base}-{whole}",
    }


async def test_only_what_was_registered_for_a_market_that_never_appeared_is_forgotten(
    database: Database,
) -> None:
    """Though the index be empty: nowhere else are a market's texts."""
    async with database.caller(Caller(CREATOR)) as connection:
        for name in ("m", "never made", "young"):
            await metadata.register(connection, document(name), LIMITS)
    async with database.service() as connection:
        await insert_market(connection, "m", ipfs_question_hash=DOCUMENT.cid)
        await metadata.adopt(connection, [market_id("m")])
        await connection.execute("delete from markets")
        await connection.execute(
            "update market_metadata set created_at = now() - interval '31 days' where market_id <> $1",
            market_id("young"),
        )
    assert await delete_expired(database, "market_metadata") == 1
    async with database.service() as connection:
        rows = await connection.fetch("select market_id from market_metadata")
    assert {row["market_id"] for row in rows} == {market_id("m"), market_id("young")}


async def test_what_somebody_else_registered_for_a_market_is_ignored(database: Database) -> None:
    stranger = wallet("stranger")
    async with database.caller(Caller(stranger)) as connection:
        await metadata.register(
            connection, msgspec.structs.replace(DOCUMENT, creator_wallet=stranger), LIMITS
        )
    async with database.service() as connection:
        await insert_market(connection, "m", ipfs_question_hash=DOCUMENT.cid)
        assert await metadata.adopt(connection, [DOCUMENT.market_id]) == set()
        market = await markets.get(connection, DOCUMENT.market_id)

    assert market.question == ""


async def test_markets_are_found_by_words_of_their_question(database: Database) -> None:
    async with database.service() as connection:
        await insert_market(connection, "m", question="Will it rain in Århus tomorrow?")
        await insert(connection, "markets", id=market_id("other"), on_chain_address=wallet("other"))
        for words in ("raining", "århus", "Århus tomorrow"):
            found = await connection.fetch("select id from markets where search @@ zmartd.sought($1)", words)
            assert [row["id"] for row in found] == [market_id("m")]
