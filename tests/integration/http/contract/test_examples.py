"""The examples of the OpenAPI document do what they show, in the order of a market's life."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.http.rest.rest_api import AUTHORIZATION, Answer, Caller
from tests.integration.http.rest.rest_stage import ALICE, AUTHORITY, Stage, running_stage
from zmartd.http.kit.operation import Access, Operation
from zmartd.http.openapi.examples import COMMENT_ID, EXAMPLES, MARKET_ID
from zmartd.http.routes import OPERATIONS
from zmartd.store.postgres.database import Database

WITH_BODIES: dict[str, Operation[Any]] = {one.name: one for one in OPERATIONS if one.json_body is not None}
REFUSED_FOR_ITS_STATE = {
    ("resolve_market", "at its end"): (409, "too_early"),
    ("decide_outcome", "keep"): (409, "nothing_to_decide"),
}
"""The examples that come too early in this test. All others are accepted."""


def test_every_body_has_an_example() -> None:
    assert set(EXAMPLES) == set(WITH_BODIES)
    assert all(EXAMPLES.values())


class Sender:
    """Sends examples, with what only the moment can tell in the place of what is made up."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.made_up: dict[str, str] = {}
        self.sent: set[str] = set()

    async def send(self, name: str, caller: Caller, changes: Mapping[str, Any] = {}) -> list[Answer]:
        """The answers to all examples of an operation, which are accepted."""
        answers = []
        for title, body in EXAMPLES[name].items():
            answer = await self._sent(WITH_BODIES[name], caller, self._real(body, changes))
            expected = REFUSED_FOR_ITS_STATE.get((name, title))
            if expected is None:
                assert answer.status in {200, 201}, (name, title, answer.body)
            else:
                assert (answer.status, answer.body["code"]) == expected, (name, title, answer.body)
            answers.append(answer)
        self.sent.add(name)
        return answers

    def _real(self, body: Any, changes: Mapping[str, Any]) -> Any:
        text = json.dumps(body)
        for made_up, real in self.made_up.items():
            text = text.replace(made_up, real)
        real = json.loads(text)
        if isinstance(real, dict):
            assert set(changes) <= set(real), "an example that is sent lacks what it is sent with"
            real |= changes
        return real

    async def _sent(self, operation: Operation[Any], caller: Caller, body: Any) -> Answer:
        variable = COMMENT_ID if operation.name == "edit_comment" else MARKET_ID
        path = operation.path.replace("{id}", self.made_up.get(variable, ""))
        if operation.access is Access.HELIUS:
            headers = {"Authorization": AUTHORIZATION}
            async with self._stage.api.client.post(path, json=body, headers=headers) as response:
                return Answer(response.status, await response.text(), {})
        if operation.method == "PATCH":
            return await caller.patch(path, body)
        return await caller.post(path, body)


async def test_every_example_is_accepted_by_a_running_api(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_stage(database, redis_url, tmp_path) as stage:
        sender = Sender(stage)
        await _trade_and_talk(stage, sender)
        await _resolve_and_dispute(stage, sender)
        assert sender.sent == set(WITH_BODIES)


async def _trade_and_talk(stage: Stage, sender: Sender) -> None:
    anybody, alice, creator = stage.api.anybody, stage.alice, stage.creator
    nonce = await anybody.get("/api/auth/nonce", wallet=alice.address)
    message = nonce.body["message"]
    signature = str(ALICE.sign_message(message.encode()))
    await sender.send("sign_in", anybody, {"message": message, "signature": signature})
    await sender.send("change_own_profile", alice)

    (created,) = await sender.send("create_market", creator, {"end_date": await stage.in_days(30)})
    market_id = sender.made_up[MARKET_ID] = created.body["market"]["id"]
    assert (await creator.relay_quoted(created.body)).status == 200
    await sender.send("vote_on_proposal", alice)
    await sender.send("build_proposal_vote_transaction", stage.bob)
    await stage.activate(market_id)

    quoted = (await sender.send("buy_shares", alice))[0].body
    signed = {"transaction": alice.sign(quoted["transaction"]), "protection": quoted["protection"]}
    await sender.send("send_transaction", alice, signed)
    await sender.send("sell_shares", alice)

    (comment,) = await sender.send("post_comment", alice)
    sender.made_up[COMMENT_ID] = comment.body["discussion"]["id"]
    await sender.send("post_comment_on_market", stage.bob)
    await sender.send("post_thread", stage.bob)
    await sender.send("edit_comment", alice)

    await sender.send("receive_webhook", anybody)


async def _resolve_and_dispute(stage: Stage, sender: Sender) -> None:
    await stage.travel(86_400)
    proposed = (await sender.send("resolve_market", stage.creator))[-1]
    assert (await stage.creator.relay_quoted(proposed.body)).status == 200
    await stage.travel(1)
    disputed = await stage.bob.carry_out(f"/api/markets/{sender.made_up[MARKET_ID]}/dispute")
    assert disputed.status == 200, disputed.body
    await sender.send("hand_in_dispute_evidence", stage.bob)
    await sender.send("vote_on_dispute", stage.alice)
    await sender.send("build_dispute_vote_transaction", stage.alice)
    await sender.send("decide_outcome", stage.api.as_wallet(AUTHORITY))
