from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import Story
from tests.ledger import Ledger
from zmartd.chain.events import SharesBought, SharesSold
from zmartd.market import fees, lmsr
from zmartd.market.lmsr import SCALE

WALLET, STRANGER = Keypair.from_seed(bytes([9] * 32)), Keypair.from_seed(bytes([8] * 32))
SUMMED = (
    "cost_basis",
    "value",
    "claimable",
    "total_invested",
    "total_returned",
    "claimed_amount",
    "realized_pnl",
    "unrealized_pnl",
    "total_pnl",
)


def told(seed: int, trades: int = 12) -> Story:
    """A market in which WALLET is one of two traders."""
    story = Story(seed)
    story.traders = [WALLET.pubkey(), story.wallet()]
    story.create()
    story.open_for_trading()
    story.trade(trades)
    return story


def ledgers(story: Story) -> dict[bool, Ledger]:
    """What WALLET did, trade by trade."""
    books: dict[bool, Ledger] = defaultdict(Ledger)
    for transaction in story.transactions:
        for record in transaction.events:
            match record.event:
                case SharesBought(user=user, outcome=outcome, shares=shares, cost=cost):
                    if user == WALLET.pubkey():
                        books[outcome].buy(shares, cost)
                case SharesSold(user=user, outcome=outcome, shares=shares, proceeds=proceeds):
                    if user == WALLET.pubkey():
                        books[outcome].sell(shares, proceeds)
                case _:
                    pass
    return books


async def portfolio(api: Api) -> dict[str, Any]:
    answer = await api.as_wallet(WALLET).get(f"/api/users/{WALLET.pubkey()}/portfolio")
    assert answer.status == 200, answer.body
    for name in SUMMED:
        of_each = sum(int(position[name]) for position in answer.body["positions"])
        assert answer.body["totals"][name] == str(of_each), name
    for sums in (*answer.body["positions"], answer.body["totals"]):
        came_out = sum(int(sums[name]) for name in ("value", "total_returned", "claimed_amount"))
        assert int(sums["total_pnl"]) == came_out - int(sums["total_invested"])
        assert int(sums["total_pnl"]) == int(sums["realized_pnl"]) + int(sums["unrealized_pnl"])
    return dict(answer.body)


async def test_only_the_wallet_itself_reads_its_portfolio(api: Api) -> None:
    await api.indexer.apply(told(1).transactions)
    path = f"/api/users/{WALLET.pubkey()}/portfolio"
    anonymous, stranger = await api.anybody.get(path), await api.as_wallet(STRANGER).get(path)

    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")
    assert (stranger.status, stranger.body["code"]) == (403, "not_yours")
    assert (await api.anybody.get("/api/users/x/portfolio")).status == 400


async def test_a_wallet_that_never_traded_has_an_empty_portfolio(api: Api) -> None:
    await api.indexer.apply(told(1).transactions)
    empty = await api.as_wallet(STRANGER).get(f"/api/users/{STRANGER.pubkey()}/portfolio")

    assert empty.body["positions"] == []
    assert (empty.body["count"], empty.body["total"]) == (0, 0)
    assert set(empty.body["totals"].values()) == {"0"}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_portfolio_is_what_a_replay_of_the_trades_gives(api: Api, seed: int) -> None:
    story = told(seed)
    await api.indexer.apply(story.transactions)
    books, price_yes = ledgers(story), story._price()

    (position,) = (await portfolio(api))["positions"]

    for name, outcome, price in (("yes", True, price_yes), ("no", False, SCALE - price_yes)):
        book, shown = books[outcome], position[name]
        assert (shown["shares"], shown["cost_basis"]) == (str(book.shares), str(book.cost))
        assert shown["average_price"] == (round(book.cost / book.shares, 9) if book.shares else None)
        assert shown["value_at_price"] == str(book.shares * price // SCALE)
    assert position["realized_pnl"] == str(books[True].realized + books[False].realized)
    assert position["cost_basis"] == str(books[True].cost + books[False].cost)
    assert position["value"] == position["value_at_price"]


async def test_the_value_on_sale_is_what_the_curve_would_pay_now(api: Api) -> None:
    story = told(4)
    await api.indexer.apply(story.transactions)
    yes, no = (story.held.get((WALLET.pubkey(), outcome), 0) for outcome in (True, False))
    assert yes
    assert no
    b = 500 * SCALE
    paid = (
        lmsr.quote_sell(story.q[True], story.q[False], b, True, yes),
        lmsr.quote_sell(story.q[True] - yes, story.q[False], b, False, no),
    )

    whole = await portfolio(api)

    (position,) = whole["positions"]
    assert position["sale_gross"] == whole["totals"]["sale_gross"] == str(sum(paid))
    # This story has told nothing of the protocol's fees yet: they are as they were at the beginning.
    net = sum(one - fees.split(one, 300, 200, 500)[3] for one in paid)
    assert position["sale_net"] == whole["totals"]["sale_net"] == str(net)
    story.change_fees(100, 50, 250)
    await api.indexer.apply(story.transactions)
    (position,) = (await portfolio(api))["positions"]
    net = sum(one - fees.split(one, 100, 50, 250)[3] for one in paid)
    assert position["sale_net"] == str(net)


async def test_sales_and_claims_are_realized_and_refunds_can_be_claimed(api: Api) -> None:
    won, refunded = told(5), told(7)
    winner = max((True, False), key=lambda outcome: won.held.get((WALLET.pubkey(), outcome), 0))
    won.resolve(winner)
    won.finalize(winner, disputed=False)
    won.claim(winner)
    refunded.resolve(True)
    refunded.finalize(None, disputed=True)
    for story in (won, refunded):
        await api.indexer.apply(story.transactions)
    shown = {position["market_id"]: position for position in (await portfolio(api))["positions"]}

    claimed = shown[won.market_id.hex()]
    books = ledgers(won)
    paid_in = sum(book.invested - book.returned for book in books.values())
    assert claimed["realized_pnl"] == str(int(claimed["claimed_amount"]) - paid_in)
    assert (claimed["cost_basis"], claimed["value"], claimed["unrealized_pnl"]) == ("0", "0", "0")
    assert claimed["value_at_price"] is None

    owed = shown[refunded.market_id.hex()]
    books = ledgers(refunded)
    assert owed["realized_pnl"] == str(sum(book.realized for book in books.values()))
    assert owed["value"] == owed["claimable"]
    assert 0 < int(owed["claimable"]) <= sum(book.invested - book.returned for book in books.values())


async def test_a_portfolio_read_page_by_page_has_every_position_once_and_the_same_totals(api: Api) -> None:
    for seed in (1, 2, 3, 4):
        await api.indexer.apply(told(seed, trades=4).transactions)
    whole = await portfolio(api)
    path = f"/api/users/{WALLET.pubkey()}/portfolio"
    read: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.as_wallet(WALLET).get(path, limit=1, **cursor)
        assert page.body["totals"] == whole["totals"]
        read += page.body["positions"]
        if page.body["next_cursor"] is None:
            break
        cursor = {"cursor": page.body["next_cursor"]}

    assert read == whole["positions"]
    assert len(read) > 1
    assert (await api.as_wallet(WALLET).get(path, limit=0)).body["positions"] == []
