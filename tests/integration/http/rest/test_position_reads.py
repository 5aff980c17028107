from __future__ import annotations

from typing import Any

from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import Story
from zmartd.market.lmsr import SCALE

WALLET, STRANGER = Keypair.from_seed(bytes([9] * 32)), Keypair.from_seed(bytes([8] * 32))


def one_trader(seed: int = 1) -> Story:
    """A market in which WALLET is the only trader, so that its position is the sum of the story."""
    story = Story(seed)
    story.traders = [WALLET.pubkey()]
    story.create()
    story.open_for_trading()
    story.trade(6)
    return story


async def own_positions(api: Api) -> list[dict[str, Any]]:
    answer = await api.as_wallet(WALLET).get(f"/api/users/{WALLET.pubkey()}/positions")
    assert answer.status == 200, answer.body
    return list(answer.body)


async def test_only_the_wallet_itself_reads_its_positions(api: Api) -> None:
    await api.indexer.apply(one_trader().transactions)
    path = f"/api/users/{WALLET.pubkey()}/positions"
    anonymous = await api.anybody.get(path)
    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")
    assert anonymous.headers["WWW-Authenticate"] == 'Bearer realm="zmartd"'
    stranger = await api.as_wallet(STRANGER).get(path)
    assert (stranger.status, stranger.body["code"]) == (403, "not_yours")
    nobody = await api.anybody.get("/api/users/nobody/positions")
    assert nobody.body["details"] == [
        {"field": "wallet", "message": "must be a wallet's address, base58 of 32 bytes"}
    ]


async def test_an_open_position_is_worth_its_shares_at_the_price(api: Api) -> None:
    story = one_trader()
    await api.indexer.apply(story.transactions)
    yes, no = (story.held.get((WALLET.pubkey(), outcome), 0) for outcome in (True, False))
    price_yes = story._price()
    value = yes * price_yes // SCALE + no * (SCALE - price_yes) // SCALE
    invested = story.invested[WALLET.pubkey()]

    (position,) = await own_positions(api)

    returned = int(position["total_returned"])
    assert (position["shares_yes"], position["shares_no"]) == (str(yes), str(no))
    assert position["total_invested"] == str(invested)
    assert position["value"] == position["current_value"] == str(value)
    cost = int(position["cost_basis"])
    assert 0 < cost <= invested
    assert position["unrealized_pnl"] == str(value - cost)
    assert position["realized_pnl"] == str(returned + cost - invested)
    assert position["roi"] == round((value + returned - invested) * 100 / invested, 2)
    assert (position["state"], position["state_code"], position["state_name"]) == (2, 2, "ACTIVE")
    assert position["claimable"] == "0"
    assert position["trades_count"] == 6


async def test_a_winner_sees_the_claimable_amount_and_then_the_claimed_one(api: Api) -> None:
    story = one_trader()
    story.resolve(True)
    story.finalize(True, disputed=False)
    await api.indexer.apply(story.transactions)
    owed = story.held[WALLET.pubkey(), True] * story.liquidity // story.q[True]

    (before,) = await own_positions(api)
    assert (before["claimable"], before["current_value"], before["has_claimed"]) == (
        str(owed),
        str(owed),
        False,
    )

    story.claim(True)
    await api.indexer.apply(story.transactions)
    (after,) = await own_positions(api)
    assert (after["claimable"], after["current_value"], after["has_claimed"]) == ("0", "0", True)
    assert after["claimed_amount"] == str(owed)
    assert after["unrealized_pnl"] == "0"
    assert int(after["realized_pnl"]) == owed + int(after["total_returned"]) - int(after["total_invested"])


async def test_without_an_outcome_a_holder_is_owed_what_it_paid_in(api: Api) -> None:
    story = one_trader()
    story.resolve(True)
    story.finalize(None, disputed=True)
    await api.indexer.apply(story.transactions)
    (position,) = await own_positions(api)
    paid_in = int(position["total_invested"]) - int(position["total_returned"])
    assert int(position["claimable"]) == min(paid_in, story.liquidity)


async def test_one_position_can_be_read_alone(api: Api) -> None:
    story = one_trader()
    await api.indexer.apply(story.transactions)
    (listed,) = await own_positions(api)
    path = f"/api/users/{WALLET.pubkey()}/positions"
    one = await api.as_wallet(WALLET).get(f"{path}/{story.market}")
    assert (one.status, one.body) == (200, listed)

    other = Story(7)
    other.create()
    await api.indexer.apply(other.transactions)
    none = await api.as_wallet(WALLET).get(f"{path}/{other.market}")
    assert (none.status, none.body["code"]) == (404, "position_not_found")
    unknown = await api.as_wallet(WALLET).get(f"{path}/{'ab' * 32}")
    assert (unknown.status, unknown.body["code"]) == (404, "market_not_found")


async def test_a_wallet_without_positions_has_an_empty_list(api: Api) -> None:
    assert await own_positions(api) == []
