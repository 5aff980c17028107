"""A market's life through every operation of the API: sends the examples of bodies, and keeps the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import AUTHORIZATION, PROGRAM, Answer, Api, Caller, running_api
from tests.integration.http.rest.rest_stage import ALICE, AUTHORITY, BOB, POOR, PROPOSAL, Stage
from zmartd.chain.failures import ProgramRefused
from zmartd.clock import SystemClock
from zmartd.config import RateLimitSettings
from zmartd.http.kit.operation import Access, Operation, is_json
from zmartd.http.openapi.declared_errors import told_errors
from zmartd.http.openapi.examples import COMMENT_ID, EXAMPLES, MARKET_ID
from zmartd.http.routes import OPERATIONS
from zmartd.indexer.audit.continuous import AuditLimits, ContinuousAudit
from zmartd.market.ids import cid_v0
from zmartd.market.iso_time import iso_time
from zmartd.store import alerts, discussion_snapshots, leaderboard, markets

BY_NAME: dict[str, Operation[Any]] = {one.name: one for one in OPERATIONS}
NAMED = {kind.code: kind for kind in told_errors()}
WITH_BODIES = {one.name for one in OPERATIONS if one.json_body is not None}
REFUSED_FOR_ITS_STATE = {
    ("resolve_market", "at its end"): "too_early",
    ("decide_outcome", "keep"): "wrong_state",
}
"""The examples that come too early in this tour. All others are accepted."""
WITHOUT_EXAMPLE = {
    ("get_openapi_document", 200),
    ("get_asyncapi_document", 200),
    ("get_health", 503),
    ("get_readiness", 503),
}
"""What the tour does not ask for: the documents, and the health of a daemon without its database."""

Answers = dict[str, dict[int, Any]]
"""The bodies of answers by operation and status."""


def told_answers() -> set[tuple[str, int]]:
    """Every answer that is no error, by operation and status."""
    return {
        (one.name, status)
        for one in OPERATIONS
        for status, body in one.responses.items()
        if is_json(body) and (one.name, status) not in WITHOUT_EXAMPLE
    }


class Tour:
    """Sends examples, with what only the moment can tell in the place of what is made up."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.made_up: dict[str, str] = {}
        self.alert = 0
        """The number of an alert."""
        self.sent: set[str] = set()
        self.answers: Answers = {}
        """The first answer of each operation and status."""
        self.errors: dict[str, Any] = {}
        """The first answer of each error, by the name of its class."""

    def keep(self, name: str, answer: Answer) -> Answer:
        """Keep `answer`, which has to be one of the operation's that is no error."""
        assert answer.status in BY_NAME[name].responses, (name, answer.status, answer.body)
        self.answers.setdefault(name, {}).setdefault(answer.status, answer.body)
        return answer

    def refused(self, code: str, answer: Answer) -> None:
        """Keep `answer`, which has to be the error with this code."""
        assert answer.body.get("code") == code, (code, answer.body)
        kind = NAMED.get(code, ProgramRefused).__name__
        self.errors.setdefault(kind, answer.body)

    async def send(self, name: str, caller: Caller, changes: Mapping[str, Any] = {}) -> list[Answer]:
        """The answers to all examples of an operation, which are accepted."""
        answers = []
        for title, body in EXAMPLES[name].items():
            answer = await self._sent(BY_NAME[name], caller, self._real(body, changes))
            expected = REFUSED_FOR_ITS_STATE.get((name, title))
            if expected is None:
                self.keep(name, answer)
            else:
                self.refused(expected, answer)
            answers.append(answer)
        self.sent.add(name)
        return answers

    async def get(self, name: str, caller: Caller | None = None, **given: Any) -> Any:
        """The body of a read. `given` are variables of the path, and otherwise of the query."""
        operation = BY_NAME[name]
        variables = {"id": self.made_up.get(MARKET_ID, ""), "wallet": str(ALICE.pubkey()), **given}
        path = operation.path.format(**{key: variables[key] for key in operation.path_variables})
        query = {key: value for key, value in given.items() if key not in operation.path_variables}
        answer = await (caller or self._stage.api.anybody).get(path, **query)
        return self.keep(name, answer).body

    async def act(self, name: str, caller: Caller, market_id: str) -> Answer:
        """Ask for a transaction about a market, sign it, and have it relayed."""
        path = BY_NAME[name].path.format(id=market_id)
        unsigned = self.keep(name, await caller.post(path))
        landed = await caller.relay_quoted(unsigned.body)
        assert landed.status == 200, landed.body
        return landed

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
        path = path.replace("{number}", str(self.alert))
        if operation.access is Access.HELIUS:
            headers = {"Authorization": AUTHORIZATION}
            async with self._stage.api.client.post(path, json=body, headers=headers) as response:
                return Answer(response.status, await response.json(), {})
        if operation.method == "PATCH":
            return await caller.patch(path, body)
        return await caller.post(path, body)


async def whole_tour(stage: Stage, redis_url: str) -> Tour:
    """Every example sent, and every operation called."""
    tour = Tour(stage)
    await _sign_in(stage, tour)
    await _create_and_open(stage, tour)
    await _trade(stage, tour, redis_url)
    await _talk(stage, tour)
    await _read_while_active(stage, tour)
    await _do_wrong(stage, tour, redis_url)
    await _resolve_and_dispute(stage, tour)
    await _finalize(stage, tour)
    await _markets_of_other_ends(stage, tour)
    await _alert(stage, tour)
    await _sign_out(stage, tour)
    return tour


async def _sign_in(stage: Stage, tour: Tour) -> None:
    nonce = await tour.get("get_nonce", wallet=str(ALICE.pubkey()))
    message = nonce["message"]
    signature = str(ALICE.sign_message(message.encode()))
    await tour.send("sign_in", stage.api.anybody, {"message": message, "signature": signature})
    await tour.send("change_own_profile", stage.alice)


async def _create_and_open(stage: Stage, tour: Tour) -> None:
    creator, ends = stage.creator, {"end_date": await stage.in_days(30)}
    (created,) = await tour.send("create_market", creator, ends)
    await tour.send("create_market", creator, ends)
    market_id = tour.made_up[MARKET_ID] = created.body["market"]["id"]
    assert (await creator.relay_quoted(created.body)).status == 200
    await tour.send("vote_on_proposal", stage.alice)
    await tour.send("build_proposal_vote_transaction", stage.bob)
    await stage.approve(market_id)
    await tour.act("activate_market", creator, market_id)


async def _trade(stage: Stage, tour: Tour, redis_url: str) -> None:
    await stage.travel(3_600)
    quoted = (await tour.send("buy_shares", stage.alice))[0].body
    signed = {"transaction": stage.alice.sign(quoted["transaction"]), "protection": quoted["protection"]}
    (landed,) = await tour.send("send_transaction", stage.alice, signed)
    await tour.get("get_transaction", signature=landed.body["signature"])
    market_id = tour.made_up[MARKET_ID]
    order = {"market_id": market_id, "outcome": False, "target_cost": "500000000"}
    await stage.travel(600)
    quoted = (await stage.bob.post("/api/trades/buy", order)).body
    async with running_api(stage.api.database, redis_url, stage.rpc_url, patience_seconds=0.0) as impatient:
        bob = impatient.as_wallet(BOB)
        submitted = await bob.relay(bob.sign(quoted["transaction"]), protection=quoted["protection"])
        tour.keep("send_transaction", submitted)
        tour.keep("get_transaction", submitted)  # says the same, as long as it is asked before it lands
        await stage.indexed(submitted.body["signature"])
    await stage.travel(600)
    await tour.send("sell_shares", stage.alice)


async def _talk(stage: Stage, tour: Tour) -> None:
    market_id = tour.made_up[MARKET_ID]
    (comment,) = await tour.send("post_comment", stage.alice)
    await tour.send("post_comment", stage.alice)
    tour.made_up[COMMENT_ID] = comment.body["discussion"]["id"]
    for name in ("post_comment_on_market", "post_thread"):
        await tour.send(name, stage.bob)
        await tour.send(name, stage.bob)
    await tour.send("edit_comment", stage.alice)
    await tour.get("get_discussion_snapshot", cid=await _snapshot(stage, market_id))
    await tour.get("list_comments", stage.alice)
    await tour.get("list_threads", stage.alice)
    spare = await stage.bob.post(f"/api/discussions/{market_id}", {"content": "Never mind."})
    path = f"/api/discussions/{spare.body['discussion']['id']}"
    tour.keep("delete_comment", await stage.bob.delete(path))
    await tour.send("receive_webhook", stage.api.anybody)


async def _snapshot(stage: Stage, market_id: str) -> str:
    """The content id of what is said so far, as the task would have pinned it tomorrow."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with stage.api.database.service() as connection:
        found = await discussion_snapshots.read(connection, market_id, tomorrow, 1_000_000)
        assert isinstance(found, discussion_snapshots.ReadComments)
        content = found.snapshot.document()
        cid = cid_v0(content)
        await discussion_snapshots.save(connection, market_id, cid, content, found.snapshot.discussions_count)
        taken = discussion_snapshots.Taken(
            market_id=market_id, cid=cid, day=tomorrow.date(), read_at=found.read_at
        )
        await discussion_snapshots.record(connection, taken)
    return cid


async def _await_approval(stage: Stage, tour: Tour, market_id: str) -> None:
    """Let an admin see a proposal as it is where no daemon has the admin's key."""
    market = PROGRAM.pdas.market(bytes.fromhex(market_id))
    record = PROGRAM.aggregate_proposal_votes(
        backend_authority=AUTHORITY.pubkey(), market=market, final_likes=7, final_dislikes=3
    )
    await stage.as_authority(record)
    async with stage.api.database.service() as connection:
        await markets.set_awaiting_approval(connection, market_id, awaiting=True)
    await tour.get("list_pending_matters", stage.api.as_wallet(AUTHORITY))


async def _read_while_active(stage: Stage, tour: Tour) -> None:
    market_id, alice = tour.made_up[MARKET_ID], stage.alice
    other = await stage.propose(question="Will it snow in Zürich on the last Friday of June?")
    assert (await stage.creator.relay_quoted(other.body)).status == 200
    await _await_approval(stage, tour, other.body["market"]["id"])
    await stage.activate(other.body["market"]["id"])
    chain_time = (await stage.api.rpc.chain_time()).unix_timestamp
    async with stage.api.database.service() as connection:
        await leaderboard.publish(connection, datetime.fromtimestamp(chain_time, UTC), timedelta(hours=1))
    limits = AuditLimits(accounts_per_second=100_000, pass_seconds=600, everything_seconds=3_600)
    await ContinuousAudit(stage.api.database, stage.api.rpc, PROGRAM.program_id, limits, SystemClock()).run()
    shown = await tour.get("get_market")
    await tour.get("get_market_by_slug", slug=shown["slug"])
    await tour.get("estimate_trade", market_id=market_id, outcome="true", target_cost="1000000000")
    for name in (
        *("list_markets", "list_activity", "list_categories", "list_trending_markets", "list_all_trades"),
        *("list_market_events", "get_market_fees", "list_holders", "get_price_history"),
        *("get_market_prices", "list_related_markets", "get_market_statistics", "list_market_trades"),
        *("get_platform_statistics", "get_leaderboard", "get_public_profile", "get_health", "get_readiness"),
        "get_audit",
    ):
        await tour.get(name)
    at = datetime.fromisoformat(tour.answers["list_all_trades"][200]["trades"][0]["created_at"])
    newest: dict[str, Any] = {"from": iso_time(at), "to": iso_time(at + timedelta(seconds=1))}
    await tour.get("list_candles", interval="1m", **newest)  # as many trades whatever the minute is
    for name in (
        *("list_position_rows", "list_own_trades", "get_own_profile", "get_portfolio", "list_positions"),
        *("get_position", "get_wallet_statistics", "list_wallet_trades"),
    ):
        await tour.get(name, alice)


async def _do_wrong(stage: Stage, tour: Tour, redis_url: str) -> None:
    anybody, alice, bob = stage.api.anybody, stage.alice, stage.bob
    market_id, unknown = tour.made_up[MARKET_ID], "ab" * 32
    order = {"market_id": market_id, "outcome": True, "target_cost": "1000000000"}
    pending = await stage.propose(question="Will it hail in Zürich on the last Friday of June?")
    question = pending.body["market"]["question"]
    by_another = Caller(alice.client, ALICE, "x.y.z")
    for code, answer in (
        ("invalid_request", await anybody.get("/api/markets", status="ACTIVE", limit=1_000)),
        ("invalid_json", await alice.post("/api/trades/buy", [])),
        ("auth_missing", await anybody.get("/api/users/me")),
        ("auth_bad_token", await by_another.get("/api/users/me")),
        ("not_yours", await bob.get(f"/api/users/{alice.address}/portfolio")),
        (
            "not_the_author",
            await bob.patch(f"/api/discussions/{tour.made_up[COMMENT_ID]}", {"content": "No."}),
        ),
        ("not_the_creator", await bob.post(f"/api/markets/{market_id}/resolve", _early())),
        ("not_the_admin", await bob.post(f"/api/markets/{market_id}/decisions", _decision())),
        ("market_not_found", await anybody.get(f"/api/markets/{unknown}")),
        ("comment_not_found", await bob.delete(f"/api/discussions/{COMMENT_ID}")),
        ("transaction_not_found", await anybody.get(f"/api/transactions/{ALICE.sign_message(b'')}")),
        ("document_not_found", await anybody.get(f"/api/documents/{cid_v0(b'unknown')}")),
        ("position_not_found", await stage.poor.get(_position(POOR, market_id))),
        ("market_pending", await anybody.get(f"/api/markets/{pending.body['market']['id']}/settlement")),
        ("wrong_state", await alice.post(f"/api/markets/{market_id}/dispute-requests")),
        ("wrong_state", await bob.post("/api/votes/proposal", {"market_id": market_id, "vote": True})),
        ("similar_market_exists", await bob.post("/api/markets", await _proposal(stage, question))),
        ("insufficient_funds", await stage.poor.post("/api/trades/buy", order)),
        ("trade_too_large", await alice.post("/api/trades/buy", order | {"target_cost": str(10**18)})),
        ("transaction_refused", await alice.post("/api/transactions", {"transaction": "AA=="})),
    ):
        tour.refused(code, answer)
    quoted = (await alice.post("/api/trades/buy", order | {"slippage_bps": 10})).body
    assert (await bob.carry_out("/api/trades/buy", order | {"target_cost": "20000000000"})).status == 200
    tour.refused("price_moved", await alice.relay_quoted(quoted))
    usual = RateLimitSettings()
    async with running_api(stage.api.database, redis_url, stage.rpc_url, rate_limits=usual) as limited:
        tour.keep("get_protocol", await _newcomer(limited, "/api/protocol"))
        while (answer := await _newcomer(limited, "/api/trades")).status == 200:
            pass
    tour.refused("rate_limited", answer)


async def _newcomer(api: Api, path: str) -> Answer:
    """What somebody gets who has not called before."""
    response = await api.client.get(path, headers={"X-Forwarded-For": "192.0.2.7"})
    return Answer(response.status, await response.json(), {})


def _early() -> Any:
    return EXAMPLES["resolve_market"]["before its end"]


def _decision() -> Any:
    return EXAMPLES["decide_outcome"]["keep"]


def _position(wallet: Keypair, market_id: str) -> str:
    return f"/api/users/{wallet.pubkey()}/positions/{market_id}"


async def _proposal(stage: Stage, question: str) -> Any:
    return {**PROPOSAL, "question": question, "end_date": await stage.in_days(30)}


async def _resolve_and_dispute(stage: Stage, tour: Tour) -> None:
    market_id = tour.made_up[MARKET_ID]
    await stage.travel(86_400)
    proposed = (await tour.send("resolve_market", stage.creator))[-1]
    assert (await stage.creator.relay_quoted(proposed.body)).status == 200
    await stage.travel(1)
    for _ in range(2):
        tour.keep("request_dispute", await stage.bob.post(f"/api/markets/{market_id}/dispute-requests"))
    await tour.act("dispute_outcome", stage.bob, market_id)
    await tour.send("hand_in_dispute_evidence", stage.bob)
    await tour.send("build_dispute_vote_transaction", stage.alice)
    await tour.send("vote_on_dispute", stage.alice)
    await tour.send("decide_outcome", stage.api.as_wallet(AUTHORITY))
    await tour.get("get_resolution")
    disputed = await tour.get("get_market")
    await tour.get("get_document", cid=disputed["resolution_evidence"]["cid"])
    await tour.get("get_settlement")
    await tour.get("get_vote_overview")
    await tour.get("get_market_votes", stage.alice)
    await tour.get("list_wallet_votes", stage.alice)


async def _finalize(stage: Stage, tour: Tour) -> None:
    market_id = tour.made_up[MARKET_ID]
    market = PROGRAM.pdas.market(bytes.fromhex(market_id))
    votes = {"dispute_agree": 0, "dispute_disagree": 1}
    await stage.as_authority(
        PROGRAM.finalize_market(backend_authority=AUTHORITY.pubkey(), market=market, **votes)
    )
    await tour.get("get_position_claim", stage.alice)
    await tour.act("claim_winnings", stage.alice, market_id)
    await tour.act("withdraw_liquidity", stage.creator, market_id)


async def _markets_of_other_ends(stage: Stage, tour: Tour) -> None:
    admin = stage.api.as_wallet(AUTHORITY)
    await tour.act("cancel_market", admin, await stage.proposed_market())
    strange = await stage.propose(question="Will a stranger resolve this market in Zürich?")
    assert (await stage.creator.relay_quoted(strange.body)).status == 200
    strange_id = strange.body["market"]["id"]
    await stage.activate(strange_id)
    await stage.travel(86_400)
    await stage.as_stranger(
        BOB,
        PROGRAM.resolve_market(
            resolver=BOB.pubkey(),
            market=PROGRAM.pdas.market(bytes.fromhex(strange_id)),
            proposed_outcome=True,
            ipfs_evidence_hash=cid_v0(b"seen"),
        ),
    )
    tour.keep("decide_outcome", await admin.post(f"/api/markets/{strange_id}/decisions", _decision()))


async def _alert(stage: Stage, tour: Tour) -> None:
    admin = stage.api.as_wallet(AUTHORITY)
    summary = f"the backend authority {AUTHORITY.pubkey()} has 41000000 lamports; it should have 50000000"
    low = alerts.NewAlert("authority_balance", "", "critical", summary, 41_000_000)
    async with stage.api.database.service() as connection:
        (alert,) = await alerts.add(connection, [low], datetime.now(UTC), opened=True)
    tour.alert = alert.id
    await tour.send("acknowledge_alert", admin)
    await tour.get("list_alerts", admin)
    unknown = "/api/admin/alerts/987654/acknowledge"
    tour.refused("alert_not_found", await admin.post(unknown, {"because": "It is over."}))


async def _sign_out(stage: Stage, tour: Tour) -> None:
    for name in ("refresh_session", "sign_out", "sign_out_everywhere"):
        tour.keep(name, await stage.alice.post(BY_NAME[name].path))
