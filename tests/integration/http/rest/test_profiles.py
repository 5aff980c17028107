from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.database_cable import Cable
from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import Story
from tests.signing_wallet import SigningWallet

WALLET, OTHER = Keypair.from_seed(bytes([9] * 32)), Keypair.from_seed(bytes([8] * 32))
ADDRESS = str(WALLET.pubkey())


async def one_trader(api: Api, seed: int = 1, *, over: bool = False) -> Story:
    """A market in which WALLET votes and is the only trader."""
    story = Story(seed)
    story.traders = [WALLET.pubkey()]
    story.create()
    story.open_for_trading()
    story.trade(6)
    if over:
        winner = max((True, False), key=lambda outcome: story.held.get((WALLET.pubkey(), outcome), 0))
        story.resolve(winner)
        story.finalize(winner, disputed=False)
    await api.indexer.apply(story.transactions)
    return story


async def proposal(api: Api, seed: int) -> str:
    story = Story(seed)
    story.create()
    await api.indexer.apply(story.transactions)
    return story.market_id.hex()


async def test_a_profile_exists_from_the_first_read_and_shows_the_wallets_activity(api: Api) -> None:
    story = await one_trader(api, over=True)
    await api.as_wallet(WALLET).post(f"/api/discussions/{story.market_id.hex()}", {"content": "hello"})

    answer = await api.as_wallet(WALLET).get("/api/users/me")

    assert answer.status == 200
    assert answer.body == {
        "wallet": ADDRESS,
        "display_name": None,
        "avatar_url": None,
        "bio": None,
        "twitter_handle": None,
        "reputation_score": 0,
        "created_at": answer.body["created_at"],
        "last_seen_at": answer.body["last_seen_at"],
        "trades_count": 6,
        "total_volume": str(story.volume),
        "markets_created": 0,
        "markets_won": 1,
        "proposal_votes_count": 1,
        "dispute_votes_count": 0,
        "comments_count": 1,
        "total_trades": 6,
    }


async def test_a_change_of_a_profile_keeps_the_other_fields(api: Api) -> None:
    me = api.as_wallet(WALLET)
    changes = {
        "display_name": " Ada 👩‍🚀 ",
        "avatar_url": "https://pictures.example/ada.png?size=64",
        "bio": "Counts things.\nAll of them.",
        "twitter_handle": "@ada_l",
    }
    changed = await me.patch("/api/users/me", changes)
    assert changed.status == 200
    assert {name: changed.body[name] for name in changes} == changes | {
        "display_name": "Ada 👩‍🚀",
        "twitter_handle": "ada_l",
    }

    assert (await me.patch("/api/users/me", {"bio": "", "reputation_score": 9})).status == 400
    whole = await me.patch("/api/users/me", changed.body)
    assert {problem["field"] for problem in whole.body["details"]} == changed.body.keys() - changes.keys()
    of_another = await me.patch("/api/users/me", {"wallet": str(OTHER.pubkey()), "bio": ""})
    assert [problem["field"] for problem in of_another.body["details"]] == ["wallet"]
    for problem in whole.body["details"]:
        assert problem["message"] == (
            "is read-only: leave it out; what can be changed is display_name, avatar_url, bio, twitter_handle"
        )
    removed = await me.patch("/api/users/me", {"bio": "", "display_name": None})
    assert removed.body == changed.body | {"bio": None, "last_seen_at": removed.body["last_seen_at"]}
    assert (await me.get("/api/users/me")).body == removed.body
    assert (await api.as_wallet(OTHER).get("/api/users/me")).body["display_name"] is None


async def test_anonymous_callers_have_no_profile(api: Api) -> None:
    assert (await api.anybody.get("/api/users/me")).body["code"] == "auth_missing"
    assert (await api.anybody.patch("/api/users/me", {"bio": "x"})).body["code"] == "auth_missing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", "a" * 51),
        ("display_name", "two\nlines"),
        ("display_name", "\u202enimda"),
        ("display_name", "admin\u200b"),
        ("display_name", "nul\x00"),
        ("display_name", 7),
        ("avatar_url", "http://pictures.example/ada.png"),
        ("avatar_url", "javascript:alert(1)"),
        ("avatar_url", "https://"),
        ("avatar_url", "https://user:secret@pictures.example/"),
        ("avatar_url", "https://pictures.example/a b"),
        ("avatar_url", "https://[half"),
        ("avatar_url", "https://pictures.example/" + "a" * 500),
        ("bio", "a" * 501),
        ("bio", "bell\x07"),
        ("twitter_handle", "a" * 16),
        ("twitter_handle", "<script>"),
        ("twitter_handle", "@"),
    ],
)
async def test_bad_fields_of_a_profile_are_refused_by_name(api: Api, field: str, value: object) -> None:
    answer = await api.as_wallet(WALLET).patch(
        "/api/users/me", {field: value, "bio": "fine"} | {field: value}
    )
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert [problem["field"] for problem in answer.body["details"]] == [field]
    assert (await api.as_wallet(WALLET).get("/api/users/me")).body["bio"] is None


async def test_the_public_profile_has_counts_only(api: Api) -> None:
    await one_trader(api)
    market_id = await proposal(api, 2)
    await api.as_wallet(WALLET).patch("/api/users/me", {"display_name": "Ada"})
    posted = await api.as_wallet(WALLET).post(f"/api/discussions/{market_id}", {"content": "hello"})
    await api.as_wallet(WALLET).post(f"/api/discussions/{market_id}", {"content": "again"})
    await api.as_wallet(WALLET).delete(f"/api/discussions/{posted.body['discussion']['id']}")

    for caller in (api.anybody, api.as_wallet(OTHER)):
        answer = await caller.get(f"/api/users/{ADDRESS}")
        assert (answer.status, answer.body) == (
            200,
            {
                "wallet": ADDRESS,
                "stats": {
                    "trades_count": 6,
                    "votes_count": 1,
                    "proposal_votes_count": 1,
                    "dispute_votes_count": 0,
                    "comments_count": 1,
                    "markets_created": 0,
                    "total_trades": 6,
                    "total_votes": 1,
                    "proposal_votes": 1,
                    "dispute_votes": 0,
                    "discussions": 1,
                },
            },
        )
    nobody = await api.anybody.get(f"/api/users/{OTHER.pubkey()}")
    assert set(nobody.body["stats"].values()) == {0}
    assert (await api.anybody.get("/api/users/not-a-wallet")).body["details"][0]["field"] == "wallet"


async def test_a_vote_shows_in_public_counts_only_once_the_question_is_decided(api: Api) -> None:
    market_id = await proposal(api, 2)
    voter = api.as_wallet(WALLET)
    assert (await voter.post("/api/votes/proposal", {"market_id": market_id, "vote": True})).status == 201
    public, own = f"/api/users/{ADDRESS}", "/api/users/me"
    assert (await api.anybody.get(public)).body["stats"]["votes_count"] == 0
    assert (await voter.get(own)).body["proposal_votes_count"] == 1
    async with api.database.service() as connection:
        await connection.execute("update markets set state = 'APPROVED' where id = $1", market_id)
    assert (await api.anybody.get(public)).body["stats"]["votes_count"] == 1


async def own(api: Api, what: str, **query: Any) -> Any:
    answer = await api.as_wallet(WALLET).get(f"/api/users/{ADDRESS}/{what}", **query)
    assert answer.status == 200, answer.body
    return answer.body


async def pages(api: Api, path: str, name: str, **query: Any) -> list[Any]:
    """What WALLET gets of a list, read page by page."""
    read: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.as_wallet(WALLET).get(path, **query, **cursor)
        assert page.status == 200, page.body
        read += page.body[name]
        if page.body["next_cursor"] is None:
            return read
        cursor = {"cursor": page.body["next_cursor"]}


async def test_a_wallet_reads_its_own_votes_newest_first(api: Api) -> None:
    ids = [await proposal(api, seed) for seed in (2, 3, 4)]
    for market_id, vote in zip(ids, (True, False, True), strict=True):
        await api.as_wallet(WALLET).post("/api/votes/proposal", {"market_id": market_id, "vote": vote})

    votes = await own(api, "votes")

    assert [(one["market_id"], one["vote"]) for one in votes["proposal_votes"]] == [
        (ids[2], True),
        (ids[1], False),
        (ids[0], True),
    ]
    assert (votes["dispute_votes"], votes["total"], votes["wallet"]) == ([], 3, ADDRESS)
    by_one = await pages(api, f"/api/users/{ADDRESS}/votes", "proposal_votes", limit=1)
    assert by_one == votes["proposal_votes"]
    newest = await own(api, "votes", limit=1, vote_type="proposal")
    assert (newest["proposal_votes"], newest["count"], newest["total"]) == (votes["proposal_votes"][:1], 1, 3)
    assert (await own(api, "votes", type="dispute"))["total"] == 0


async def test_signed_in_callers_can_list_a_wallet_s_trades(api: Api) -> None:
    stories = [await one_trader(api, seed) for seed in (1, 2)]
    path = f"/api/users/{ADDRESS}/trades"

    answer = await api.as_wallet(OTHER).get(path)

    assert (answer.body["wallet"], answer.body["count"]) == (ADDRESS, 12)
    assert {trade["user_wallet"] for trade in answer.body["trades"]} == {ADDRESS}
    assert {trade["market_id"] for trade in answer.body["trades"]} == {
        story.market_id.hex() for story in stories
    }
    slots = [trade["slot"] for trade in answer.body["trades"]]
    assert slots == sorted(slots, reverse=True)
    page = await api.as_wallet(OTHER).get(path, limit=5, offset=5)
    assert page.body["trades"] == answer.body["trades"][5:10]
    assert await pages(api, path, "trades", limit=5) == answer.body["trades"]
    anonymous = await api.anybody.get(path)
    assert (anonymous.status, anonymous.body["code"]) == (401, "auth_missing")
    assert (await api.as_wallet(OTHER).get(path, limit=201)).status == 400


@pytest.mark.parametrize("what", ["votes", "stats", "positions", "portfolio"])
async def test_a_wallet_s_votes_and_statistics_are_private(api: Api, what: str) -> None:
    await one_trader(api)
    path = f"/api/users/{ADDRESS}/{what}"
    assert (await api.anybody.get(path)).status == 401
    other = await api.as_wallet(OTHER).get(path)
    assert (other.status, other.body["code"]) == (403, "not_yours")


async def test_statistics_agree_with_the_portfolio(api: Api) -> None:
    ended, running = await one_trader(api, 1, over=True), await one_trader(api, 2)
    totals = (await own(api, "portfolio"))["totals"]
    ended_pnl = next(
        int(position["total_pnl"])
        for position in (await own(api, "portfolio"))["positions"]
        if position["state"] == "FINALIZED"
    )

    assert await own(api, "stats") == {
        "trades_count": 12,
        "total_volume": str(ended.volume + running.volume),
        "win_rate": 100.0 if ended_pnl > 0 else 0.0,
        "total_pnl": totals["total_pnl"],
        "active_positions": 1,
        "totalTrades": 12,
        "totalVolume": str(ended.volume + running.volume),
        "winRate": 100.0 if ended_pnl > 0 else 0.0,
        "totalPnL": totals["total_pnl"],
        "activePositions": 1,
    }


async def test_a_wallet_without_finalized_markets_has_no_win_rate(api: Api) -> None:
    assert await own(api, "stats") == {
        "trades_count": 0,
        "total_volume": "0",
        "win_rate": None,
        "total_pnl": "0",
        "active_positions": 0,
        "totalTrades": 0,
        "totalVolume": "0",
        "winRate": None,
        "totalPnL": "0",
        "activePositions": 0,
    }


async def test_the_shares_of_a_wallet_are_a_bare_array(api: Api) -> None:
    story = await one_trader(api)
    answer = await api.as_wallet(WALLET).get(f"/api/positions/{ADDRESS}")

    (row,) = answer.body
    assert row == {
        "id": f"{story.market_id.hex()}:{ADDRESS}",
        "market_id": story.market_id.hex(),
        "user": ADDRESS,
        "yes_shares": str(story.held.get((WALLET.pubkey(), True), 0)),
        "no_shares": str(story.held.get((WALLET.pubkey(), False), 0)),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    assert (await api.as_wallet(OTHER).get(f"/api/positions/{ADDRESS}")).status == 403
    assert (await api.as_wallet(OTHER).get(f"/api/positions/{OTHER.pubkey()}")).body == []
    assert (await api.anybody.get("/api/positions/invalid-wallet")).status == 400


@pytest.mark.parametrize("what", ["votes", "trades", "portfolio"])
@pytest.mark.parametrize(
    "place",
    [
        {},
        {"type": "votes/1", "micros": -1, "market_id": "ab" * 32, "kind": "proposal"},
        {"type": "votes/1", "micros": 10**18, "market_id": "ab" * 32, "kind": "proposal"},
        {"type": "votes/1", "micros": 1, "market_id": "\x00", "kind": "proposal"},
        {"type": "trades/1", "slot": 2**63, "id": 1},
        {"type": "portfolio/1", "micros": "now", "market_id": 7},
        ["votes/1", 0],
    ],
)
async def test_a_made_up_cursor_is_refused(api: Api, what: str, place: Any) -> None:
    cursor = urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()
    answer = await api.as_wallet(WALLET).get(f"/api/users/{ADDRESS}/{what}", cursor=cursor)
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert [problem["field"] for problem in answer.body["details"]] == ["cursor"]


async def test_nobody_signs_in_while_the_database_is_away(severable_api: Api, cable: Cable) -> None:
    wallet = SigningWallet(1)
    challenge = (await severable_api.anybody.get("/api/auth/nonce", wallet=wallet.address)).body
    await cable.cut()
    answer = await severable_api.anybody.post(
        "/api/auth/login",
        {"message": challenge["message"], "signature": wallet.sign_base58(challenge["message"])},
    )
    assert (answer.status, answer.body["code"]) == (503, "auth_unavailable")
