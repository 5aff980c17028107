"""The `total` of a list: exact, of the same snapshot as its page, and from counters where rows are many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.http.rest.rest_api import Api, Caller
from tests.integration.indexer.story import GENESIS_TIME, Story
from zmartd.chain import events
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.audit.audit import read_one_market
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.rebuild.corrections import Correction
from zmartd.market.iso_time import utc_from_unix
from zmartd.store import leaderboard

SOMEBODY = Keypair.from_seed(bytes([9] * 32))


def traded(seed: int, trades: int = 12, trader: Pubkey | None = None) -> Story:
    """A market with this many trades, some of them by `trader`."""
    story = Story(seed)
    story.traders[0] = trader or story.traders[0]
    story.create()
    story.open_for_trading()
    story.trade(trades)
    return story


def bought_or_sold(*stories: Story) -> list[tuple[Story, Any]]:
    return [
        (story, record.event)
        for story in stories
        for transaction in story.transactions
        for record in transaction.events
        if isinstance(record.event, events.SharesBought | events.SharesSold)
    ]


async def counts(caller: Caller, path: str, **query: Any) -> tuple[int, Any]:
    """`count` and `total` of a page."""
    answer = await caller.get(path, **query)
    assert answer.status == 200, answer.body
    return answer.body["count"], answer.body["total"]


async def read_while_applied(
    api: Api, batches: Iterable[list[ChainTransaction]], read: Callable[[], Awaitable[int]]
) -> None:
    """Read a number that grows, once or more for each batch that is applied, however long either takes."""
    is_done, reads = asyncio.Event(), asyncio.Semaphore(0)

    async def apply() -> None:
        for batch in batches:
            await reads.acquire()
            await api.indexer.apply(batch)
        is_done.set()

    seen: set[int] = set()
    async with asyncio.TaskGroup() as group:
        group.create_task(apply())
        while not is_done.is_set():
            reads.release()
            seen.add(await read())
    assert len(seen) > 2, "nothing was written meanwhile: the test shows nothing"


async def total(caller: Caller, path: str, **query: Any) -> Any:
    """The total that every page of the list has."""
    found: set[Any] = set()
    read = 0
    cursor: dict[str, str] = {}
    while True:
        answer = await caller.get(path, limit=5, **query, **cursor)
        assert answer.status == 200, answer.body
        found.add(answer.body["total"])
        read += answer.body["count"]
        if answer.body["next_cursor"] is None:
            break
        cursor = {"cursor": answer.body["next_cursor"]}
    found.add((await counts(caller, path, limit=0, **query))[1])
    (one,) = found
    assert one in (None, read)
    return one


async def test_a_market_s_trades_are_counted_on_every_page_and_on_one_behind_the_last(api: Api) -> None:
    here, elsewhere = traded(1), traded(2, 3)
    await api.indexer.apply(here.transactions + elsewhere.transactions)
    for story, all_of_it in ((here, 12), (elsewhere, 3)):
        path = f"/api/markets/{story.market_id.hex()}/trades"
        assert await total(api.anybody, path) == all_of_it
        assert await counts(api.anybody, path, offset=100) == (0, all_of_it)
        assert await total(api.anybody, "/api/trades", market_id=story.market_id.hex()) == all_of_it


async def test_a_wallet_s_trades_are_counted_for_itself_and_for_others_who_signed_in(api: Api) -> None:
    trader = Keypair.from_seed(bytes([31] * 32)).pubkey()
    here, elsewhere = traded(1, trader=trader), traded(2, trader=trader)
    await api.indexer.apply(here.transactions + elsewhere.transactions)
    other = api.as_wallet(SOMEBODY)
    mine = [story for story, event in bought_or_sold(here, elsewhere) if event.user == trader]
    assert len(mine) > mine.count(here) > 0, "or this shows nothing"

    assert await total(other, f"/api/users/{trader}/trades") == len(mine)
    assert await total(other, "/api/trades", wallet=str(trader)) == len(mine)
    of_market = {"wallet": str(trader), "market_id": here.market_id.hex()}
    assert await total(other, "/api/trades", **of_market) == mine.count(here)
    assert await total(other, "/api/trades/history") == 0
    assert await total(other, f"/api/users/{SOMEBODY.pubkey()}/trades") == 0


async def test_one_s_own_history_has_the_number_of_one_s_own_trades(api: Api) -> None:
    story = traded(1, trader=SOMEBODY.pubkey())
    await api.indexer.apply(story.transactions)
    mine = sum(event.user == SOMEBODY.pubkey() for _, event in bought_or_sold(story))
    alice = api.as_wallet(SOMEBODY)
    assert 0 < mine < 12
    assert await total(alice, "/api/trades/history") == mine
    assert await total(alice, "/api/trades/history", market_id=story.market_id.hex()) == mine


@pytest.mark.parametrize("query", [{}, {"outcome": "true"}, {"trade_type": "sell"}])
async def test_trades_that_would_have_to_be_counted_one_by_one_have_no_total(
    api: Api, query: dict[str, str]
) -> None:
    story = traded(1)
    await api.indexer.apply(story.transactions)
    assert await total(api.anybody, "/api/trades", **query) is None
    if query:
        assert await total(api.anybody, "/api/trades", market_id=story.market_id.hex(), **query) is None


async def test_a_total_falls_with_the_trades_that_a_fork_takes(api: Api) -> None:
    story = traded(1)
    await api.indexer.apply(story.transactions)
    gone = story.transactions[-1]
    await api.indexer.roll_back([TransactionInSlot(gone.slot, gone.signature)])
    market = story.market_id.hex()
    assert await total(api.anybody, f"/api/markets/{market}/trades") == 12 - len(gone.events)
    assert await total(api.anybody, f"/api/markets/{market}/price-history") == 13 - len(gone.events)


async def test_a_market_with_trades_that_cannot_be_read_has_no_total_of_them(api: Api) -> None:
    story = traded(1)
    await api.indexer.apply(story.transactions)
    facts = (await read_one_market(api.database, story.market)).facts
    correction = Correction(
        story.market_id.hex(),
        story.slot + 1,
        facts.markets[str(story.market)],
        {wallet: held for (_, wallet), held in facts.positions.items()},
        utc_from_unix(GENESIS_TIME + story.slot + 1),
    )
    unread = story.transactions[-1]
    await api.indexer.roll_back([TransactionInSlot(unread.slot, unread.signature)])
    await api.indexer.correct(correction, story.market)
    market = story.market_id.hex()
    other = api.as_wallet(SOMEBODY)
    for path in (f"/api/markets/{market}/trades", f"/api/markets/{market}/price-history"):
        assert await total(other, path) is None
    trader = bought_or_sold(story)[-1][1].user
    assert await total(other, f"/api/users/{trader}/trades") is None


async def test_page_and_total_are_of_one_snapshot_while_trades_are_applied(api: Api) -> None:
    story = traded(1, 60)
    market = story.market_id.hex()
    begun, rest = story.transactions[:10], story.transactions[10:]
    await api.indexer.apply(begun)

    async def read() -> int:
        count, all_of_them = await counts(api.anybody, f"/api/markets/{market}/trades", limit=200)
        assert count == all_of_them
        count, all_prices = await counts(api.anybody, f"/api/markets/{market}/price-history", limit=200)
        assert count == all_prices
        return count

    await read_while_applied(api, ([transaction] for transaction in rest), read)


async def test_a_price_history_counts_the_price_with_which_the_market_began(api: Api) -> None:
    story = traded(1)
    await api.indexer.apply(story.transactions)
    assert await total(api.anybody, f"/api/markets/{story.market_id.hex()}/price-history") == 13
    new = Story(2)
    new.create()
    await api.indexer.apply(new.transactions)
    assert await total(api.anybody, f"/api/markets/{new.market_id.hex()}/price-history") == 1


async def test_holders_are_counted_by_outcome_and_together(api: Api) -> None:
    story = traded(1)
    await api.indexer.apply(story.transactions)
    held = {
        outcome: sum(shares > 0 for (_, of), shares in story.held.items() if of is outcome)
        for outcome in (True, False)
    }
    path = f"/api/markets/{story.market_id.hex()}/holders"
    assert await total(api.anybody, path, outcome="true") == held[True] > 0
    assert await total(api.anybody, path, outcome="false") == held[False] > 0
    assert await total(api.anybody, path) == sum(held.values())


async def test_the_trail_of_a_market_has_its_length(api: Api) -> None:
    story = traded(1)
    await api.indexer.apply(story.transactions)
    path = f"/api/markets/{story.market_id.hex()}/events"
    assert await total(api.anybody, path) == 4
    assert await counts(api.anybody, path, offset=4) == (0, 4)


async def test_a_leaderboard_has_the_number_of_its_ranks(api: Api) -> None:
    assert await counts(api.anybody, "/api/leaderboard") == (0, 0)
    stories = [traded(1), traded(2)]
    for story in stories:
        await api.indexer.apply(story.transactions)
    async with api.database.service() as connection:
        await leaderboard.publish(
            connection, datetime.fromtimestamp(GENESIS_TIME + 2_000, UTC), timedelta(minutes=5)
        )
    traders = {event.user for _, event in bought_or_sold(*stories)}
    assert len(traders) > 5, "or it is one page"
    for by in ("profit", "volume", "trades"):
        assert await total(api.anybody, "/api/leaderboard", by=by) == len(traders)


async def test_comments_are_counted_as_they_are_shown(api: Api) -> None:
    story = Story(1)
    story.create()
    await api.indexer.apply(story.transactions)
    author = api.as_wallet(SOMEBODY)
    path = f"/api/discussions/{story.market_id.hex()}"

    async def say(words: str, parent: str | None = None) -> str:
        answer = await author.post(path, {"content": words, "parent_id": parent})
        assert answer.status == 201, answer.body
        return str(answer.body["discussion"]["id"])

    async def totals(of: str) -> list[int]:
        """Of all comments, of those on the market itself, and of the replies to one."""
        queries: list[dict[str, str]] = [{}, {"parent_id": "none"}, {"parent_id": of}]
        return [await total(author, path, **query) for query in queries]

    assert await totals("00000000-0000-0000-0000-000000000000") == [0, 0, 0]
    root = await say("root")
    replies = [await say(f"reply {number}", root) for number in range(6)]
    leaf = await say("leaf", replies[0])
    await say("another root")
    assert await totals(root) == [9, 2, 6]
    # A deleted comment is shown, and counted, while there are replies to it at any depth.
    for gone in (root, replies[0], replies[1]):
        assert (await author.delete(f"/api/discussions/{gone}")).status == 200
    assert await totals(root) == [8, 2, 5]
    for gone in (*replies[2:], leaf):
        assert (await author.delete(f"/api/discussions/{gone}")).status == 200
    assert await totals(root) == [1, 1, 0]


async def test_one_s_votes_and_their_number_are_of_one_snapshot(api: Api) -> None:
    stories = []
    for seed in range(30):
        story = Story(seed)
        story.create()
        stories.append(story)
        await api.indexer.apply(story.transactions)
    voter = SOMEBODY.pubkey()
    for story in stories:
        story.tell(events.ProposalVoteSubmitted(story.market_id, voter, True, story.now))
    caller = api.as_wallet(SOMEBODY)

    async def read() -> int:
        count, all_of_them = await counts(caller, f"/api/users/{caller.address}/votes", limit=100)
        assert count == all_of_them
        return count

    await read_while_applied(api, (story.transactions[-1:] for story in stories), read)


async def test_a_list_of_markets_and_its_total_are_of_one_snapshot(api: Api) -> None:
    def proposals() -> Iterator[list[ChainTransaction]]:
        for seed in range(40):
            story = Story(seed)
            story.create()
            yield story.transactions

    async def read() -> int:
        count, all_of_them = await counts(api.anybody, "/api/markets", limit=100)
        assert count == all_of_them
        return count

    await read_while_applied(api, proposals(), read)
