"""The OpenAPI document says everything there is, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import zmartd.http
from tests.integration.http.contract.response_contract import Contract, contract, hold_to_contract
from tests.integration.http.rest.rest_api import Api
from zmartd.chain.idl import default_idl
from zmartd.http.errors.requests import EndDetails, MarketPending, PendingDetails, TooEarly
from zmartd.http.errors.statuses import STATUS, error_body
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.path_variables import path_template
from zmartd.http.openapi.declared_errors import told_details, told_errors
from zmartd.http.openapi.document import openapi
from zmartd.http.routes import OPERATIONS
from zmartd.store.markets import MarketNotFound, MarketReference

_MARKET = ["status", "expires_at", "ipfs_question_hash", "ipfs_evidence_hash"]
_SINGLE_MARKET = [
    *("yes_shares", "no_shares", "total_yes_shares", "total_no_shares"),
    *("creator", "ends_at", "liquidity_parameter"),
]
DOCUMENT = openapi(OPERATIONS, default_idl())


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(DOCUMENT).validate()


async def test_every_route_is_documented_and_every_documented_operation_has_a_route(api: Api) -> None:
    app = api.client.app
    assert app is not None
    served = {
        (route.method.lower(), path_template(route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method not in {"OPTIONS", "HEAD", "*"}
    }
    assert served == {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}


def test_operations_have_names_that_read_as_functions_and_words_about_themselves() -> None:
    """Names are kept: they are functions of generated clients."""
    entries = [entry for item in DOCUMENT["paths"].values() for entry in item.values()]
    names = [entry["operationId"] for entry in entries]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
    assert {"buy_shares", "sell_shares", "list_markets", "get_market", "vote_on_proposal"} <= set(names)
    known = {tag["name"] for tag in DOCUMENT["tags"]}
    for entry in entries:
        assert entry["summary"]
        assert set(entry["tags"]) <= known, entry["operationId"]
        assert all("$ref" in one or one["description"] for one in entry["parameters"]), entry["operationId"]


def test_nothing_in_the_document_defaults_to_null_and_what_has_a_default_may_be_left_out() -> None:
    def nodes(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield node
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from nodes(part)

    assert [one for one in nodes(DOCUMENT) if one.get("default", 0) is None] == []
    described = [one for one in nodes(DOCUMENT) if isinstance(one.get("properties"), dict)]
    assert len(described) > 100
    for schema in described:
        required = schema.get("required", [])
        assert set(required) <= set(schema["properties"])
        assert [name for name in required if "default" in schema["properties"][name]] == [], schema["title"]
    parameters = [one for one in nodes(DOCUMENT) if "in" in one and "schema" in one]
    assert [one["name"] for one in parameters if one.get("required") and "default" in one["schema"]] == []
    # What a query may leave out has no null either: there is no way to write it.
    assert [one["name"] for one in parameters if {"type": "null"} in one["schema"].get("anyOf", [])] == []


def test_a_request_may_leave_out_what_the_api_does_without() -> None:
    """Held to the types that the dispatcher decodes with."""
    schemas = DOCUMENT["components"]["schemas"]
    kinds = [one.body for one in OPERATIONS if one.body is not None]
    for kind in kinds:
        needed = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
        forms = {form.name: {form.requires} for form in getattr(kind, "FORMS", ())} or {kind.__name__: set()}
        for name, one_of in forms.items():
            assert set(schemas[name].get("required", [])) == needed | one_of, name
    assert len(kinds) > 10


def test_nothing_but_the_dispatcher_reads_queries_and_bodies() -> None:
    """Webhook deliveries prove their origin with their body; a WebSocket's token may be in its query."""
    assert _files_with(r"\brequest\.(rel_url\.|url\.)?query\b") == {"kit/codec.py", "ws/endpoint.py"}
    assert _files_with(r"\b(decode_query|decode_body|read_body|read_raw)\(") == {
        "kit/codec.py",
        "kit/dispatch.py",
        "machines/webhook_verification.py",
    }


def _files_with(pattern: str) -> set[str]:
    root = Path(zmartd.http.__file__).parent
    return {
        str(path.relative_to(root)) for path in root.rglob("*.py") if re.search(pattern, path.read_text())
    }


def test_every_error_with_a_status_is_documented_under_its_code() -> None:
    for kind, status in STATUS.items():
        schema = DOCUMENT["components"]["schemas"][kind.__name__]
        fields = schema["properties"]
        assert fields["status"]["const"] == status
        assert fields["code"].get("const", kind.code) == kind.code
        assert schema["description"]


def test_the_details_of_a_price_that_moved_have_the_fresh_quote() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    moved = schemas["PriceMoved"]
    assert moved["properties"]["details"]["$ref"] == "#/components/schemas/PriceMovedDetails"
    assert "details" in moved["required"]
    fresh = schemas["PriceMovedDetails"]["properties"]["fresh"]["anyOf"]
    assert [one.get("$ref", "").rpartition("/")[2] for one in fresh] == ["BuyBody", "SellBody", ""]


def test_the_details_of_every_error_are_of_the_type_that_its_class_declares() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    typed = {}
    for kind in told_errors():
        fields, details = schemas[kind.__name__]["properties"], told_details(kind)
        assert ("details" in fields) is (details is not None), kind.__name__
        if details is not None:
            typed[kind.code] = fields["details"].get("$ref", "").rpartition("/")[2]
    assert len(typed) > 30
    assert typed["too_early"] == "EndDetails"
    assert typed["wrong_state"] == "StepDetails"
    assert typed["insufficient_funds"] == "FundsDetails"
    assert typed["program_refused"] == "ProgramErrorDetails"
    assert typed["similar_market_exists"] == "SimilarMarket"
    assert {"rpc_unavailable", "lookups_exhausted", "internal_error"}.isdisjoint(typed)
    assert schemas["StepDetails"]["properties"]["next"]["items"]["$ref"].endswith("/NextStep")
    assert schemas["StepDetails"]["required"] == ["market_id", "state", "expected_states", "next"]


def test_what_requests_must_be_is_what_the_schema_says() -> None:
    """The words of a refusal, "must be ...", end the field's description."""
    fields = DOCUMENT["components"]["schemas"]["ResolveRequest"]["properties"]
    assert fields["outcome"]["description"] == "The outcome to propose. Send true for YES or false for NO."


def test_what_is_only_there_for_earlier_clients_is_deprecated() -> None:
    fields = {
        name: [field for field, schema in component.get("properties", {}).items() if schema.get("deprecated")]
        for name, component in DOCUMENT["components"]["schemas"].items()
    }
    assert {name: deprecated for name, deprecated in fields.items() if deprecated} == {
        "TradeBody": ["cost"],
        "MarketBody": _MARKET,
        "MarketDetail": [*_MARKET, *_SINGLE_MARKET],
        "MarketDetail24h": [*_MARKET, *_SINGLE_MARKET],
        "PastPrice": ["yes", "no"],
        "ActivityBody": ["user", "action", "market", "marketId", "time", "amount"],
        "TrendingMarket": ["yesPrice", "change24h", "volume24h"],
        "RelatedMarket": ["yesPrice"],
        "CategoryBody": ["count"],
        "CollectedFees": [
            *("total_collected", "protocol_collected", "creator_collected", "staker_collected"),
        ],
        "CommentBody": ["discussion_id", "wallet", "upvotes"],
        "DisputeVotes": ["agrees", "disagrees"],
        "MarketVotes": ["type"],
        "PositionBody": ["state", "current_value"],
        "PositionClaim": ["claimed", "claim_amount"],
        "Profile": ["total_trades"],
        "ProposalVotes": ["likes", "dislikes"],
        "PublicStatistics": [
            *("total_trades", "total_votes", "proposal_votes", "dispute_votes", "discussions"),
        ],
        "Resolution": ["winning_outcome", "total_pool"],
        "SessionBody": ["walletAddress", "expiresIn", "expiresAt"],
        "Statistics": ["total_trades", "unique_traders"],
        "TradingStatistics": ["totalTrades", "totalVolume", "winRate", "totalPnL", "activePositions"],
        "VoteStatistics": ["likes", "dislikes", "approval_rate"],
    }


def test_an_undocumented_field_status_code_or_header_is_a_breach() -> None:
    market = "/api/markets/{id}"
    good = json_response(error_body(MarketNotFound(MarketReference()), "request-1"), 404)
    good.headers["X-Request-Id"] = "request-1"
    assert contract().breaches("GET", market, good) == []

    undocumented_code = json_response(error_body(MarketPending(PendingDetails("m")), "request-1"), 404)
    undocumented_code.headers["X-Request-Id"] = "request-1"
    assert contract().breaches("GET", market, undocumented_code)
    assert contract().breaches("GET", market, web.Response(status=418)) == ["status 418 is not documented"]
    bare = json_response(error_body(MarketNotFound(MarketReference()), "request-1"), 404)
    assert contract().breaches("GET", market, bare) == ["the header X-Request-Id is missing"]


def test_details_of_another_type_are_a_breach() -> None:
    state: dict[str, Any] = {"market_id": "m", "state": "ACTIVE", "expected_states": ("ACTIVE",), "next": ()}
    early = msgspec.to_builtins(error_body(TooEarly(EndDetails(**state, end_date=None)), "request-1"))

    def breaches(details: Any) -> list[str]:
        answer = json_response(early | {"details": details}, 409)
        answer.headers["X-Request-Id"] = "request-1"
        return contract().breaches("POST", "/api/markets/{id}/resolve", answer)

    assert breaches({**state, "end_date": "2027-01-01T00:00:00.000Z"}) == []
    for details in ({**state, "end_date": 5}, {"end_date": None}, {**state, "end_date": None, "more": 1}):
        assert breaches(details), details


def test_a_field_more_or_less_is_a_breach() -> None:
    strict = Contract(DOCUMENT)

    def breaches(body: Any) -> list[str]:
        answer = json_response(body)
        answer.headers["X-Request-Id"] = "request-1"
        return strict.breaches("POST", "/api/auth/logout", answer)

    assert breaches({"success": True, "message": "Signed out."}) == []
    assert breaches({"success": True, "message": "Signed out.", "more": 1})
    assert breaches({"success": True})


async def test_an_application_with_an_undocumented_answer_fails_when_it_is_closed() -> None:
    async def log_out(_: web.Request) -> web.Response:
        return json_response({"success": True, "message": "Signed out.", "more": 1})

    app = web.Application()
    app.add_routes([web.post("/api/auth/logout", log_out)])
    hold_to_contract(app)
    client = TestClient(TestServer(app))
    await client.start_server()
    await client.post("/api/auth/logout")
    with pytest.raises(AssertionError, match=r"POST /api/auth/logout -> 200: at the root: .*'more'"):
        await client.close()
