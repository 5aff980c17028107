from __future__ import annotations

from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.database_cable import Cable
from tests.integration.http.rest.rest_api import Api
from tests.integration.indexer.story import Story, whole_life
from zmartd.chain.events import SharesBought
from zmartd.market import ids
from zmartd.market.lmsr import SCALE

WALLET = Keypair.from_seed(bytes([9] * 32))


async def told(api: Api, story: Story) -> str:
    await api.indexer.apply(story.transactions)
    return story.market_id.hex()


def traded_market(seed: int = 1, trades: int = 12) -> Story:
    story = Story(seed)
    story.create()
    story.open_for_trading()
    story.trade(trades)
    return story


def a_step(action: str, *by: str, **more: Any) -> dict[str, Any]:
    """A step of a market that is open now."""
    nothing = dict.fromkeys(("leads_to", "opens_at", "closes_at", "early_before", "votes", "missing_seconds"))
    return {"action": action, "by": list(by), "open": True, **nothing, **more}


async def test_a_market_is_shown_with_every_field_that_clients_read(api: Api) -> None:
    story = traded_market()
    market_id = await told(api, story)

    answer = await api.anybody.get(f"/api/markets/{market_id}")

    assert answer.status == 200
    price_yes = story._price()
    assert answer.body == {
        "id": market_id,
        "stream_position": answer.headers["Stream-Position"],
        "on_chain_address": str(story.market),
        "question": "",
        "description": "",
        "category": "other",
        "tags": [],
        "creator_wallet": str(story.creator),
        "resolver_wallet": None,
        "state": "ACTIVE",
        "status": "ACTIVE",
        "state_code": 2,
        "price_yes": price_yes / SCALE,
        "price_no": (SCALE - price_yes) / SCALE,
        "shares_yes": str(story.q[True]),
        "shares_no": str(story.q[False]),
        "b_parameter": "500000000000",
        "initial_liquidity": "1000000000",
        "current_liquidity": str(story.liquidity),
        "liquidity_left": str(story.liquidity),
        "total_volume": str(story.volume),
        "trades_count": 12,
        "proposed_outcome": None,
        "proposed_outcome_label": None,
        "final_outcome": None,
        "final_outcome_label": None,
        "was_disputed": False,
        "resolver_is_creator": None,
        "awaiting_admin_approval": False,
        "awaiting_decision": False,
        "settles_at": None,
        "proposal_likes": 3,
        "proposal_dislikes": 1,
        "proposal_total_votes": 4,
        "dispute_agree": 0,
        "dispute_disagree": 0,
        "dispute_total_votes": 0,
        "question_cid": "Qm" + "a" * 44,
        "evidence_cid": None,
        "ipfs_question_hash": "Qm" + "a" * 44,
        "ipfs_evidence_hash": None,
        "metadata_verified": False,
        "created_at": "2027-01-15T08:16:40.000Z",
        "approved_at": "2027-01-15T08:16:45.000Z",
        "activated_at": "2027-01-15T08:16:46.000Z",
        "resolution_proposed_at": None,
        "dispute_initiated_at": None,
        "finalized_at": None,
        "cancelled_at": None,
        "end_date": None,
        "expires_at": None,
        "ended": False,
        "slug": None,
        "image_url": None,
        "resolution_rules": "",
        "resolution_sources": [],
        "resolution_evidence": None,
        "dispute_evidence": None,
        "next": [
            a_step("trade", "anybody"),
            a_step(
                "resolve",
                "creator",
                "trusted_resolver",
                leads_to="RESOLVING",
                open=False,
                opens_at="2027-01-15T08:16:47.000Z",
                missing_seconds=1,
            ),
        ],
        "chain_confirmed": True,
        "commitment": "confirmed",
        "slot": story.slot,
        "version": answer.body["version"],
        "change_24h": (price_yes - SCALE // 2) / SCALE,
        "volume_24h": str(story.volume),
        "traders_24h": len(story.invested),
        "traders_count": len(story.invested),
        "yes_shares": str(story.q[True]),
        "no_shares": str(story.q[False]),
        "total_yes_shares": str(story.q[True]),
        "total_no_shares": str(story.q[False]),
        "creator": str(story.creator),
        "ends_at": None,
        "liquidity_parameter": "500000000000",
    }


async def test_a_market_is_found_by_id_and_by_address_on_every_route(api: Api) -> None:
    story = traded_market(trades=3)
    market_id = await told(api, story)
    for path in ("", "/trades", "/price-history", "/votes", "/stats", "/events"):
        by_id = await api.anybody.get(f"/api/markets/{market_id}{path}")
        for name in (str(story.market), market_id.upper()):
            answer = await api.anybody.get(f"/api/markets/{name}{path}")
            assert (answer.status, answer.body) == (200, by_id.body)


@pytest.mark.parametrize(
    "name", ["ab" * 32, "11111111111111111111111111111111", "market-1-2", "%F0%9F%98%80"]
)
async def test_an_unknown_market_is_not_found(api: Api, name: str) -> None:
    for path in ("", "/trades", "/price-history", "/votes", "/stats", "/events"):
        answer = await api.anybody.get(f"/api/markets/{name}{path}")
        assert (answer.status, answer.body["code"]) == (404, "market_not_found")


async def test_the_list_is_filtered_newest_first_and_counts_all_that_match(api: Api) -> None:
    proposed, active = Story(2), traded_market(3, trades=1)
    proposed.create()
    ids_by_age = [await told(api, proposed), await told(api, active)]

    everything = await api.anybody.get("/api/markets")
    assert {market["id"] for market in everything.body["markets"]} == set(ids_by_age)
    assert {name: everything.body[name] for name in ("count", "total", "offset", "limit")} == {
        "count": 2,
        "total": 2,
        "offset": 0,
        "limit": 20,
    }
    for query, found in [
        ({"state": "2"}, [ids_by_age[1]]),
        ({"state": "active"}, [ids_by_age[1]]),
        ({"state": "0"}, [ids_by_age[0]]),
        ({"state": "FINALIZED"}, []),
        ({"category": "Other", "creator": str(active.creator)}, [ids_by_age[1]]),
        ({"category": "tech"}, []),
    ]:
        answer = await api.anybody.get("/api/markets", **query)
        assert [market["id"] for market in answer.body["markets"]] == found
        assert answer.body["count"] == answer.body["total"] == len(found)


async def test_a_page_of_the_list_has_its_limit_and_offset(api: Api) -> None:
    for seed in range(3):
        story = Story(seed)
        story.create()
        await told(api, story)
    whole = (await api.anybody.get("/api/markets")).body["markets"]
    page = await api.anybody.get("/api/markets", limit=1, offset=1)
    cursor = page.body.pop("next_cursor")
    assert page.body == {"markets": whole[1:2], "count": 1, "total": 3, "offset": 1, "limit": 1}
    following = await api.anybody.get("/api/markets", limit=1, cursor=cursor)
    assert (following.body["markets"], following.body["next_cursor"]) == (whole[2:], None)
    assert (await api.anybody.get("/api/markets", limit=0)).body["markets"] == []
    for both, problem in (
        ({"cursor": cursor, "offset": 0}, "cursor contradicts offset"),
        ({"cursor": cursor, "page": 1}, "cursor contradicts page"),
        ({"offset": 1, "page": 1}, "offset contradicts page"),
    ):
        refused = await api.anybody.get("/api/markets", **both)
        assert (refused.status, problem in refused.body["message"]) == (400, True), refused.body


async def test_a_bad_filter_is_refused_with_all_that_is_wrong(api: Api) -> None:
    answer = await api.anybody.get(
        "/api/markets", state="7", category="weather", creator="nobody", limit="101", offset="-1"
    )
    assert answer.status == 400
    assert answer.body["details"] == [
        {
            "field": "state",
            "message": (
                "must be one or more of PROPOSED, APPROVED, ACTIVE, RESOLVING, DISPUTED, FINALIZED, "
                "CANCELLED or their numbers, 0 to 6, with commas between them"
            ),
        },
        {
            "field": "category",
            "message": (
                "must be one of crypto, politics, sports, technology, finance, science, entertainment, other"
            ),
        },
        {"field": "creator", "message": "must be a wallet's address, base58 of 32 bytes"},
        {"field": "limit", "message": "must be a whole number from 0 to 100"},
        {"field": "offset", "message": "must be a whole number from 0 to 1000000"},
    ]


async def test_trades_have_shortened_wallets_for_anonymous_callers(api: Api) -> None:
    story = traded_market()
    path = f"/api/markets/{await told(api, story)}/trades"
    signed_in = (await api.as_wallet(WALLET).get(path)).body["trades"]
    anonymous = (await api.anybody.get(path)).body["trades"]

    wallets = [trade["user_wallet"] for trade in signed_in]
    assert set(wallets) <= {str(trader) for trader in story.traders}
    assert [trade["user_wallet"] for trade in anonymous] == [ids.masked(wallet) for wallet in wallets]
    assert [{**trade, "user_wallet": ""} for trade in anonymous] == [
        {**trade, "user_wallet": ""} for trade in signed_in
    ]


async def test_trades_are_listed_newest_first_as_the_program_emitted_them(api: Api) -> None:
    story = traded_market(trades=1)
    market_id = await told(api, story)
    (transaction,) = [one for one in story.transactions if isinstance(one.events[0].event, SharesBought)]
    event = transaction.events[0].event
    assert isinstance(event, SharesBought)
    fees = story.fees

    answer = await api.as_wallet(WALLET).get(f"/api/markets/{market_id}/trades")

    price_yes = event.new_price_yes
    assert answer.body == {
        "trades": [
            {
                "id": f"{transaction.signature}:0",
                "market_id": market_id,
                "user_wallet": str(event.user),
                "trade_type": "buy",
                "outcome": event.outcome,
                "outcome_label": "YES" if event.outcome else "NO",
                "shares": str(event.shares),
                "cost": str(event.cost),
                "gross": str(event.cost - sum(fees)),
                "fee": {
                    "protocol": str(fees[0]),
                    "resolver": str(fees[1]),
                    "lp": str(fees[2]),
                    "total": str(sum(fees)),
                },
                "net": str(event.cost),
                "average_price": pytest.approx(event.cost / event.shares, abs=1e-9),
                "price_before": 0.5,
                "price_after": (price_yes if event.outcome else SCALE - price_yes) / SCALE,
                "tx_signature": transaction.signature,
                "event_index": 0,
                "slot": transaction.slot,
                "commitment": "confirmed",
                "created_at": answer.body["trades"][0]["created_at"],
            }
        ],
        "count": 1,
        "total": 1,
        "market_id": market_id,
        "next_cursor": None,
    }


async def test_a_page_of_trades_is_a_part_of_the_whole_list(api: Api) -> None:
    path = f"/api/markets/{await told(api, traded_market())}/trades"
    whole = (await api.anybody.get(path)).body["trades"]
    of_yes = [
        [trade[name] if trade["outcome"] else 1 - trade[name] for name in ("price_before", "price_after")]
        for trade in reversed(whole)
    ]
    assert [before for before, _ in of_yes] == pytest.approx([0.5, *(after for _, after in of_yes[:-1])])
    slots = [trade["slot"] for trade in whole]
    assert slots == sorted(slots, reverse=True)
    assert (await api.anybody.get(path, limit=5, offset=4)).body["trades"] == whole[4:9]
    assert (await api.anybody.get(path, limit=0)).body["trades"] == []
    assert (await api.anybody.get(path, limit=201)).status == 400


async def test_the_price_history_begins_at_one_half_and_ends_at_the_price(api: Api) -> None:
    story = traded_market()
    path = f"/api/markets/{await told(api, story)}/price-history"
    points = (await api.anybody.get(path)).body["price_history"]
    assert points[0] == {
        "timestamp": "2027-01-15T08:16:40.000Z",
        "price_yes": 0.5,
        "price_no": 0.5,
        "yes": 50.0,
        "no": 50.0,
    }
    assert len(points) == 13
    assert points[-1]["price_yes"] == story._price() / SCALE
    for point in points:
        assert point["price_yes"] + point["price_no"] == pytest.approx(1)
        assert [point["yes"], point["no"]] == pytest.approx(
            [100 * point["price_yes"], 100 * point["price_no"]]
        )
    newest = (await api.anybody.get(path, limit=5)).body["price_history"]
    assert newest == points[-5:]


@pytest.mark.parametrize("limit", [1, 5, 12, 13, 200])
async def test_the_pages_of_the_price_history_lead_back_to_the_market_s_beginning(
    api: Api, limit: int
) -> None:
    path = f"/api/markets/{await told(api, traded_market())}/price-history"
    whole = (await api.anybody.get(path)).body["price_history"]
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = (await api.anybody.get(path, **query)).body
        assert 0 < page["count"] == len(page["price_history"]) <= limit
        found = page["price_history"] + found
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == whole


async def test_a_limit_of_0_prices_gives_an_empty_page_and_one_of_too_many_is_refused(api: Api) -> None:
    market = f"/api/markets/{await told(api, traded_market(trades=2))}"
    nothing = (await api.anybody.get(f"{market}/price-history", limit=0)).body
    assert (nothing["price_history"], nothing["next_cursor"]) == ([], None)
    of_trades = (await api.anybody.get(f"{market}/trades", limit=1)).body["next_cursor"]
    for name, value in (("limit", 201), ("limit", -1), ("cursor", of_trades), ("cursor", "?")):
        refused = await api.anybody.get(f"{market}/price-history", **{name: value})
        assert (refused.status, [one["field"] for one in refused.body["details"]]) == (400, [name])


async def test_statistics_are_the_sums_of_the_trades(api: Api) -> None:
    story = traded_market()
    market_id = await told(api, story)
    answer = await api.anybody.get(f"/api/markets/{market_id}/stats")
    stats = answer.body["stats"]
    assert stats["total_volume"] == str(story.volume)
    assert int(stats["buy_volume"]) == sum(story.invested.values())
    assert int(stats["sell_volume"]) == story.volume - sum(story.invested.values())
    assert (stats["trades_count"], stats["traders_count"]) == (12, len(story.invested))


async def test_the_audit_trail_has_every_change_with_its_position_on_the_chain(api: Api) -> None:
    story = whole_life(5, trades=4)
    market_id = await told(api, story)
    answer = await api.anybody.get(f"/api/markets/{market_id}/events")
    assert [event["name"] for event in answer.body["events"]] == [
        "MarketFinalized",
        "DisputeInitiated",
        "MarketResolved",
        "MarketActivated",
        "ProposalApproved",
        "ProposalAggregated",
        "MarketCreated",
    ]
    finalized = answer.body["events"][0]
    told_by = next(tx for tx in story.transactions if tx.signature == finalized["tx_signature"])
    assert (finalized["slot"], finalized["event_index"]) == (told_by.slot, 0)
    assert finalized["data"]["final_outcome"] is True
    resolved = next(event["data"] for event in answer.body["events"] if event["name"] == "MarketResolved")
    assert bytes.fromhex(resolved["evidence_hash"]).decode() == resolved["evidence_cid"]
    assert answer.body["count"] == 7


async def test_callers_with_a_bad_credential_can_read_public_data(api: Api) -> None:
    market_id = await told(api, traded_market(trades=1))
    for header in ("Bearer forged", "Signature message=x", "Basic abc", "Bearer"):
        response = await api.client.get(f"/api/markets/{market_id}", headers={"Authorization": header})
        assert response.status == 200


async def test_an_unavailable_database_is_answered_with_503_and_retry_after(
    severable_api: Api, cable: Cable
) -> None:
    await cable.cut()
    answer = await severable_api.anybody.get("/api/markets")
    assert (answer.status, answer.body["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert answer.body["message"] == "The database cannot be reached; try again in a moment."
    assert "details" not in answer.body
