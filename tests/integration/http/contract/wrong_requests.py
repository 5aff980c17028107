"""Wrong requests of every kind, and what their senders are told.

`python -m tests.wrong_requests` prints the table with the whole answers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from aiohttp import ClientResponse
from msgspec import Struct

from tests.integration.http.rest.rest_api import AUTHORIZATION, Caller
from tests.integration.http.rest.rest_stage import ALICE, BOB, CREATOR, PROPOSAL, Stage

FRAME = 0
"""The status of what a WebSocket answers with a frame."""
WEBSOCKET = "ws"
"""The line of a message on one."""


class Wrong(Struct, frozen=True):
    """A wrong request, and the answer to it. `{names}` in it stand for what there is on the stage."""

    who: str
    """A caller of the stage."""
    line: str
    """Method and path; of a message on a WebSocket, `ws`."""
    body: Any = None
    """JSON, or the text of a body that is none."""
    status: int = 400
    code: str = "invalid_request"
    field: str | None = None
    says: str = ""
    """A part of the message."""
    headers: Mapping[str, str] = {}


class Told(Struct, frozen=True):
    """What the sender of a wrong request was told."""

    status: int
    code: str
    fields: tuple[str, ...]
    message: str

    def is_as_expected(self, wrong: Wrong) -> bool:
        return (
            (self.status, self.code) == (wrong.status, wrong.code)
            and (wrong.field is None or wrong.field in self.fields)
            and wrong.says in self.message
        )


def invalid(line: str, field: str, says: str, body: Any = None, who: str = "anybody") -> Wrong:
    """A request with an invalid field, which is said before anything else is looked at."""
    return Wrong(who, line, body, field=field, says=says)


def refused(
    who: str,
    line: str,
    status: int,
    code: str,
    says: str,
    body: Any = None,
    field: str | None = None,
    headers: Mapping[str, str] = {},
) -> Wrong:
    return Wrong(who, line, body, status, code, field, says, headers)


def message(body: Any, code: str, field: str | None, says: str, who: str = "anybody") -> Wrong:
    return Wrong(who, WEBSOCKET, body, FRAME, code, field, says)


LINES: tuple[Wrong, ...] = (
    invalid("GET /api/markets?status=ACTIVE", "status", "did you mean state?"),
    invalid("GET /api/markets?limit=1&limit=2", "limit", "must be given once"),
    invalid("GET /api/markets?limit=many", "limit", "a whole number from 0 to 100"),
    invalid("GET /api/markets?limit=101", "limit", "a whole number from 0 to 100"),
    invalid("GET /api/markets?limit=1.5", "limit", "a whole number from 0 to 100"),
    invalid("GET /api/markets?offset=-1", "offset", "a whole number from 0"),
    invalid("GET /api/markets?page=0", "page", "a whole number from 1 to 10000"),
    invalid("GET /api/markets?state=OPEN", "state", "PROPOSED, APPROVED, ACTIVE"),
    invalid("GET /api/markets?category=weather", "category", "one of crypto, politics"),
    invalid("GET /api/markets?creator=me", "creator", "a wallet's address, base58 of 32 bytes"),
    invalid("GET /api/markets?cursor=%00", "cursor", "a next_cursor of this list"),
    invalid("GET /api/markets?q=a%00b", "q", "U+0000, character 2 of the text"),
    invalid("GET /api/markets?sort=best", "sort", "newest, volume, ending_soon"),
    invalid("GET /api/markets?sort=relevance", "sort", "where q says what to search"),
    invalid("GET /api/markets/{active}?currency=SOL", "currency", "which takes none"),
    invalid("GET /api/markets/{active}/candles?interval=2m", "interval", "1m, 5m, 1h"),
    invalid("GET /api/markets/{active}/candles?from=noon", "from", "offset from UTC"),
    invalid("GET /api/markets/{active}/votes?vote_type=all", "vote_type", "proposal or dispute"),
    invalid("GET /api/leaderboard?period=1y", "period", "24h, 7d, 30d or all"),
    invalid("GET /api/trades?trade_type=swap", "trade_type", "buy or sell"),
    invalid("GET /api/auth/nonce?domain=evil.example", "domain", 'not "evil.example"'),
    invalid("GET /api/auth/nonce?wallet=0x12", "wallet", "the base58 address"),
    refused("anybody", "GET /api/trades?wallet={alice}", 401, "auth_missing", "or leave wallet out"),
    refused(
        "anybody",
        "GET /api/stream?channels=user",
        401,
        "auth_session_required",
        "a session",
        field="channels",
    ),
    refused(
        "anybody", "GET /api/markets/by-slug/no-such-rain", 404, "market_not_found", "GET /api/markets?q="
    ),
    refused("anybody", "GET /api/markets/", 404, "route_not_found", "without the slash at its end"),
    invalid("GET /api/documents/Qm", "cid", "Qm and 44 base58 characters"),
    refused("anybody", "GET /api/market", 404, "route_not_found", "did you mean /api/markets?"),
    refused("anybody", "GET /api/markets/rain", 404, "market_not_found", "64 hexadecimal digits"),
    refused("anybody", "GET /api/markets/{unknown}", 404, "market_not_found", "GET /api/markets lists"),
    invalid("GET /api/users/nobody", "wallet", "base58 of 32 bytes"),
    invalid("GET /api/transactions/5", "signature", "base58 of 64 bytes"),
    refused("anybody", "GET /api/transactions/{no_signature}", 404, "transaction_not_found", "check its"),
    refused("anybody", "PUT /api/markets", 405, "method_not_allowed", "the Allow header lists"),
    refused("anybody", "GET /ws", 426, "upgrade_required", "connect to it with ws://"),
    refused("anybody", "POST /helius/webhook", 401, "webhook_unauthorized", "Authorization header", []),
    refused(
        "anybody",
        "POST /helius/webhook",
        400,
        "malformed_delivery",
        "a JSON object or an array of at most 1000",
        "5",
        headers={"Authorization": AUTHORIZATION},
    ),
    refused(
        "anybody",
        "POST /api/votes/proposal",
        401,
        "auth_missing",
        "",
        {"market_id": "{proposed}", "vote": True},
    ),
    refused(
        "anybody",
        "POST /api/auth/logout",
        401,
        "auth_bad_token",
        "sign in again",
        headers={"Authorization": "Bearer x.y.z"},
    ),
    refused(
        "anybody",
        "POST /api/auth/logout",
        401,
        "auth_bad_message",
        "`Bearer <token>`, with the token of POST /api/auth/login",
        headers={"Authorization": "Basic eDp5"},
    ),
    refused(
        "anybody",
        "POST /api/auth/logout",
        401,
        "auth_bad_message",
        "`Bearer <token>`",
        headers={"Authorization": "x.y.z"},
    ),
    invalid("POST /api/auth/login", "signature", "is required", {"message": "me"}),
    invalid("POST /api/auth/login", "message", "or signed_message", {"signature": "5"}),
    invalid("POST /api/auth/login", "signatur", "did you mean signature?", {"signatur": "5"}),
    refused(
        "anybody",
        "POST /api/auth/login",
        401,
        "auth_bad_message",
        "not a Sign In With Solana message",
        {"message": "me", "signature": "5", "wallet": "{alice}"},
    ),
    refused("alice", "POST /api/votes/proposal", 400, "invalid_json", "send one JSON object", "{bad"),
    refused("alice", "POST /api/votes/proposal", 400, "invalid_json", "has to be a JSON object", []),
    refused(
        "alice",
        "POST /api/votes/proposal",
        415,
        "unsupported_media_type",
        "`Content-Type: application/json`",
        "vote=1",
        headers={"Content-Type": "text/plain"},
    ),
    refused("alice", "POST /api/votes/proposal", 413, "body_too_large", "at most 65536 bytes", " " * 70_000),
    invalid("POST /api/votes/proposal", "vote", "is required", {"market_id": "{proposed}"}),
    invalid("POST /api/votes/proposal", "voet", "did you mean vote?", {"voet": True}),
    invalid(
        "POST /api/votes/proposal",
        "vote",
        "true or false, or one of like",
        {"market_id": "{proposed}", "vote": "maybe"},
    ),
    invalid(
        "POST /api/votes/proposal",
        "market_id",
        "must be given once, as market_id or marketId or market",
        {"market_id": "{proposed}", "market": "{active}", "vote": True},
    ),
    invalid(
        "POST /api/votes/proposal",
        "vote",
        "must be given once, as vote",
        '{"market_id": "{proposed}", "vote": true, "vote": false}',
    ),
    refused(
        "alice",
        "POST /api/votes/proposal",
        409,
        "market_pending",
        "its creator has to sign and send",
        {"market_id": "{pending}", "vote": True},
    ),
    invalid("POST /api/votes/proposal", "market_id", "64 hexadecimal", {"market_id": "7", "vote": True}),
    invalid("POST /api/markets/{active}/activate", "now", "which takes none", {"now": 1}),
    invalid("POST /api/markets", "question", "10 to 200 characters", {"question": "Rain?"}),
    invalid("POST /api/markets", "question", "U+0007, character 9", {"question": "Will it \u0007 rain?"}),
    invalid("POST /api/markets", "question", "on one line", {"question": "Will it\nrain?"}),
    invalid("POST /api/markets", "question", "nothing in it can be", {"question": "\u200b" * 10}),
    invalid("POST /api/markets", "category", "one of crypto", {"category": "weather"}),
    invalid("POST /api/markets", "end_date", "as in 2030-01-01T", {"end_date": "2030-01-01T00:00:00"}),
    invalid("POST /api/markets", "initial_liquidity", "a whole number", {"initial_liquidity": 0.5}),
    invalid("POST /api/markets", "initial_liquidity", "lamports", {"initial_liquidity": "1 SOL"}),
    invalid("POST /api/markets", "liquidity", "did you mean initial_liq", {"liquidity": 1000000000}),
    invalid("POST /api/markets", "b_parameter", "a whole number from", {"b_parameter": "1"}),
    invalid("POST /api/markets", "tags", "in item 2, U+0000, character 2", {"tags": ["a", "b\u0000"]}),
    invalid("POST /api/markets", "tags", "at most 10 texts", {"tags": ["a"] * 11}),
    invalid(
        "POST /api/markets",
        "end_date",
        "must be in the future",
        {**PROPOSAL, "end_date": "2020-01-01T00:00:00Z"},
        who="alice",
    ),
    invalid("POST /api/trades/buy", "maxcost", "did you mean max_cost?", {"maxcost": 5}),
    invalid(
        "POST /api/trades/buy",
        "target_cost",
        "to 18446744073709551615",
        {"market_id": "{active}", "outcome": True, "target_cost": "9" * 20},
    ),
    invalid(
        "POST /api/trades/buy",
        "target_cost",
        "or shares is required, one of the two",
        {"market_id": "{active}", "outcome": True},
        who="alice",
    ),
    refused("alice", "POST /api/trades/buy", 400, "invalid_json", "The body is empty; send one JSON", ""),
    refused(
        "poor",
        "POST /api/trades/sell",
        422,
        "insufficient_shares",
        "in this market, not 1000000000: it has none to sell",
        {"market_id": "{active}", "outcome": True, "shares": "1000000000"},
    ),
    invalid("POST /api/trades/buy", "shares", "a whole number of share units", {"shares": 1.5}),
    invalid("POST /api/trades/buy", "outcome", "true for YES or false for NO", {"outcome": "YES"}),
    invalid("POST /api/trades/sell", "min_payout", "did you mean min_proceeds?", {"min_payout": 5}),
    invalid("POST /api/transactions", "tx", "which takes transaction", {"tx": "AA=="}),
    refused("alice", "POST /api/transactions", 400, "transaction_refused", "base64", {"transaction": "!"}),
    invalid("POST /api/discussions/{active}", "content", "1 to 1000 characters", {"content": ""}),
    invalid("POST /api/discussions/{active}", "text", "which takes content", {"text": "So."}),
    refused(
        "alice",
        "POST /api/discussions/{active}",
        404,
        "parent_not_found",
        "reply to another one",
        {"content": "So.", "parent_id": "{no_comment}"},
    ),
    invalid(
        "PATCH /api/discussions/{comment}", "parent_id", "can be changed is content", {"parent_id": None}
    ),
    refused("alice", "DELETE /api/discussions/7", 404, "comment_not_found", "a UUID"),
    invalid("GET /api/discussions/ipfs/bafkreiabc", "cid", "version 0, or of version 1 in base32"),
    refused(
        "anybody",
        "GET /api/discussions/ipfs/QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o",
        404,
        "document_not_found",
        "ask an IPFS gateway",
    ),
    refused("alice", "DELETE /api/discussions/{comment}", 403, "not_the_author", "Only the wallet that"),
    refused("bob", "GET /api/users/{alice}/portfolio", 403, "not_yours", "sign in with the wallet"),
    refused(
        "bob",
        "POST /api/markets/{active}/resolve",
        403,
        "not_the_creator",
        "{creator}, or a trusted resolver",
        {"outcome": True, "ipfs_evidence_hash": "Qm" + "a" * 44},
    ),
    refused(
        "bob",
        "POST /api/markets/{active}/decisions",
        403,
        "not_the_admin",
        "sign in with that wallet",
        {"decision": "keep", "because": "I say that it stays."},
    ),
    refused("bob", "GET /api/admin/pending", 403, "not_the_admin", "sign in with one of them"),
    refused("bob", "GET /api/admin/alerts", 403, "not_the_admin", "sign in with one of them"),
    invalid("GET /api/admin/alerts?status=new", "status", "open, resolved or all"),
    invalid("POST /api/admin/alerts/first/acknowledge", "number", "an alert's", {"because": "x"}, "bob"),
    invalid("POST /api/admin/alerts/1/acknowledge", "because", "a text of 1 to 500", {"because": ""}, "bob"),
    invalid("POST /api/markets/{active}/resolve", "outcome", "true for YES", {"outcome": 1}),
    invalid("PATCH /api/users/me", "display_name", "U+0009, character 2", {"display_name": "a\tb"}),
    invalid("PATCH /api/users/me", "avatar_url", "https URL", {"avatar_url": "http://a.example"}),
    invalid(
        "PATCH /api/users/me", "avatar_url", "U+0022, character 20", {"avatar_url": 'https://a.example/p"'}
    ),
    invalid(
        "PATCH /api/users/me", "reputation_score", "can be changed is display_name", {"reputation_score": 9}
    ),
    refused(
        "bob",
        "PATCH /api/users/me",
        400,
        "invalid_request",
        "visible ASCII characters",
        {"bio": "x"},
        field="Idempotency-Key",
        headers={"Idempotency-Key": "two words"},
    ),
    refused(
        "poor",
        "POST /api/markets/{proposed}/claim",
        422,
        "account_not_initialized",
        "so it has nothing to sell or to claim; check the market",
    ),
    message("hello", "invalid_message", None, "send one JSON object"),
    message("[]", "invalid_message", None, "Invalid message format"),
    message({"market_id": "*"}, "invalid_message", "action", "action is required: one of subscribe, unsub"),
    message({"action": "dance"}, "unknown_action", "action", "subscribe, unsubscribe, auth"),
    message({"action": "subscibe"}, "unknown_action", "action", "did you mean subscribe?"),
    message({"action": "subscribe"}, "market_id_required", "market_id", "or send channel or channels"),
    message({"action": "subscribe", "market": "*"}, "invalid_message", "market", "did you mean market_id?"),
    message(
        {"action": "subscribe", "market_id": "*", "channel": "trades"},
        "invalid_message",
        "channel",
        "market_id or channel, not both",
    ),
    message(
        '{"action": "subscribe", "market_id": "*", "market_id": "{active}"}',
        "invalid_message",
        "market_id",
        "must be given once",
    ),
    message(
        {"action": "subscribe", "market_id": "{unknown}"}, "market_not_found", "market_id", "on the chain"
    ),
    message(
        {"action": "subscribe", "market_id": "{alice}"},
        "market_not_found",
        "market_id",
        "GET /api/markets lists",
        who="alice",
    ),
    message({"action": "subscribe", "market_id": 5}, "invalid_message", "market_id", "address"),
    message({"action": "auth"}, "token_required", "token", "POST /api/auth/login"),
    message({"action": "auth", "token": "x.y.z"}, "auth_bad_token", "token", "sign in again"),
    message({"action": "subscribe", "channel": "user"}, "auth_session_required", "channel", "sign in with"),
    message(
        {"action": "subscribe", "channel": "*", "wallet": "{alice}"},
        "auth_session_required",
        "wallet",
        "or leave wallet out",
    ),
    message(
        {"action": "subscribe", "channels": ["*", "user:{alice}"]},
        "foreign_stream",
        "channels[1]",
        "sign in as it first",
        who="bob",
    ),
    message({"action": "ping", "at": 5}, "invalid_message", "at", "which takes action, id"),
    message({"action": "ping", "id": []}, "invalid_message", "id", "64 characters"),
)


async def answers(stage: Stage) -> AsyncIterator[tuple[Wrong, Told]]:
    """Each wrong request, with `{names}` replaced, and what its sender was told. Nothing of it is done."""
    names = await _furnished(stage)
    api = stage.api
    callers = {
        "anybody": api.anybody,
        "alice": stage.alice,
        "bob": stage.bob,
        "creator": stage.creator,
        "poor": stage.poor,
    }
    for wrong in (_named(one, names) for one in LINES):
        if wrong.line == WEBSOCKET:
            async with api.client.ws_connect("/ws") as socket:
                await socket.receive_json(timeout=120)
                await socket.send_str(_text(wrong.body))
                yield wrong, _of_frame(await socket.receive_json(timeout=120))
        else:
            yield wrong, await _of_response(await _sent(callers[wrong.who], wrong))


async def _furnished(stage: Stage) -> dict[str, str]:
    active = await stage.active_market()
    proposed = await stage.propose(question="Will it snow in Zürich tomorrow?")
    landed = await stage.creator.relay(stage.creator.sign(proposed.body["transaction"]))
    assert landed.status == 200, landed.body
    pending = await stage.propose(question="Will it hail in Zürich tomorrow?")
    said = await stage.bob.post(f"/api/discussions/{active}", {"content": "It will."})
    return {
        "active": active,
        "proposed": proposed.body["market"]["id"],
        "pending": pending.body["market"]["id"],
        "comment": said.body["discussion"]["id"],
        "unknown": "ab" * 32,
        "no_comment": "00000000-0000-4000-8000-000000000007",
        "no_signature": str(BOB.sign_message(b"of no transaction")),
        "alice": str(ALICE.pubkey()),
        "creator": str(CREATOR.pubkey()),
    }


def _named(wrong: Wrong, names: Mapping[str, str]) -> Wrong:
    def filled(text: str) -> str:
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    body = wrong.body
    if isinstance(body, str):
        body = filled(body)
    elif body is not None:
        body = json.loads(filled(json.dumps(body)))
    return Wrong(
        wrong.who,
        filled(wrong.line),
        body,
        wrong.status,
        wrong.code,
        wrong.field,
        filled(wrong.says),
        wrong.headers,
    )


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


async def _sent(caller: Caller, wrong: Wrong) -> ClientResponse:
    method, path = wrong.line.split(" ", 1)
    data = None if wrong.body is None else _text(wrong.body)
    media_type = {} if data is None else {"Content-Type": "application/json"}
    headers = {**caller.headers, **media_type, **wrong.headers}
    return await caller.client.request(method, path, data=data, headers=headers)


async def _of_response(response: ClientResponse) -> Told:
    body = await response.json()
    details = body.get("details", ())
    problems = details if isinstance(details, list) else [details or {}]
    fields = tuple(one["field"] for one in problems if "field" in one)
    return Told(response.status, body["code"], fields, body["message"])


def _of_frame(frame: Mapping[str, Any]) -> Told:
    data = frame["data"]
    assert frame["type"] == "error", frame
    return Told(FRAME, data["code"], (data["field"],) if "field" in data else (), data["error"])


def table(rows: Iterable[tuple[Wrong, Told]]) -> str:
    """The rows in Markdown."""
    lines = ["| # | who | request | status | code | field | message |", "|---|---|---|---|---|---|---|"]
    for number, (wrong, told) in enumerate(rows, start=1):
        body = "" if wrong.body is None else f" `{_shortened(_text(wrong.body))}`"
        status = "frame" if told.status == FRAME else str(told.status)
        cells = (str(number), wrong.who, f"{wrong.line}{body}", status, told.code, ", ".join(told.fields))
        lines.append(f"| {' | '.join((*cells, told.message)).replace(chr(10), ' ')} |")
    return "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:60]}… ({len(text)} characters)"
