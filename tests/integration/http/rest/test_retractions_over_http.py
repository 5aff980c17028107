"""What the API says of a trade before and after it was taken back."""

from __future__ import annotations

from tests.integration.http.rest.rest_stage import Stage
from tests.integration.indexer.story import Story
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.market.ids import trade_id


async def test_a_retracted_trade_is_in_no_list_and_who_asks_for_it_is_told(stage: Stage) -> None:
    story = Story(1)
    story.create()
    story.open_for_trading()
    story.tell(story._buy())
    story.tell(story._buy())
    await stage.api.indexer.apply(story.transactions[:-1], "finalized")
    await stage.api.indexer.apply(story.transactions[-1:])
    # The node has none of these, as after a fork.
    kept, lost = story.transactions[-2:]
    market, anybody = story.market_id.hex(), stage.api.anybody

    trades = (await anybody.get(f"/api/markets/{market}/trades")).body["trades"]
    assert [(trade["id"], trade["commitment"]) for trade in trades] == [
        (trade_id(lost.signature, 0), "confirmed"),
        (trade_id(kept.signature, 0), "finalized"),
    ]
    activities = (await anybody.get("/api/markets/activity", type="trade")).body["activities"]
    assert [(one["id"], one["commitment"]) for one in activities] == [
        (trade_id(lost.signature, 0), "confirmed"),
        (trade_id(kept.signature, 0), "finalized"),
    ]
    assert (await anybody.get(f"/api/transactions/{lost.signature}")).body["commitment"] == "confirmed"

    await stage.api.indexer.roll_back([TransactionInSlot(lost.slot, lost.signature)])

    for path, entries in (
        (f"/api/markets/{market}/trades", "trades"),
        ("/api/trades", "trades"),
        ("/api/markets/activity?type=trade", "activities"),
    ):
        listed = (await anybody.get(path)).body[entries]
        assert [one["id"] for one in listed] == [trade_id(kept.signature, 0)], path
    answer = await anybody.get(f"/api/transactions/{lost.signature}")
    assert (answer.status, answer.body["code"]) == (404, "transaction_retracted")
    assert answer.body["details"] == {"signature": lost.signature, "slot": lost.slot}


async def test_a_transaction_that_is_on_the_chain_after_all_is_found_again(stage: Stage) -> None:
    market = await stage.active_market()
    body = {"market_id": market, "outcome": True, "target_cost": "1000000000"}
    landed = (await stage.alice.carry_out("/api/trades/buy", body)).body
    await stage.api.indexer.roll_back([TransactionInSlot(landed["slot"], landed["signature"])])
    answer = await stage.alice.get(f"/api/transactions/{landed['signature']}")
    assert (answer.status, answer.body["slot"]) == (200, landed["slot"])
    (trade,) = (await stage.alice.get(f"/api/markets/{market}/trades")).body["trades"]
    assert trade["tx_signature"] == landed["signature"]


async def test_ones_own_vote_on_the_chain_has_the_id_of_its_frame(stage: Stage) -> None:
    market = await stage.proposed_market()
    cast = await stage.alice.carry_out("/api/votes/proposal/transaction", {"market_id": market, "vote": True})
    assert cast.status == 200, cast.body
    own = (await stage.alice.get(f"/api/users/{stage.alice.address}/votes")).body["proposal_votes"][0]
    assert len(own["id"]) == 64
    assert own["tx_signature"] == cast.body["signature"]
    await stage.bob.post("/api/votes/proposal", {"market_id": market, "vote": True})
    through_api = (await stage.bob.get(f"/api/users/{stage.bob.address}/votes")).body["proposal_votes"][0]
    assert through_api["id"] is None
