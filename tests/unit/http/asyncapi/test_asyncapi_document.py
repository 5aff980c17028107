from __future__ import annotations

from typing import Any, get_args

import pytest

from tests.frame_check import faults_of
from zmartd.config import ServerSettings
from zmartd.errors import ZmartdError
from zmartd.http.asyncapi.document import asyncapi
from zmartd.http.asyncapi.page import page
from zmartd.http.errors import websocket
from zmartd.http.openapi.declared_errors import told_kinds
from zmartd.http.ws.actions import ACTIONS
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.frame_kinds import FRAME_KINDS
from zmartd.realtime.frames import FrameType

DOCUMENT = asyncapi()
OPERATIONS = DOCUMENT["operations"]
PONG = {
    "type": "pong",
    "timestamp": "2026-11-29T12:00:00.000Z",
    "data": {"slot": None, "time": "2026-11-29T12:00:00.000Z"},
}
IN_THE_HANDSHAKE = {"upgrade_required", "too_many_connections", "restarting"}


def test_every_frame_and_action_is_described() -> None:
    (channel,) = DOCUMENT["channels"].values()
    assert set(channel["messages"]) == {*FRAME_KINDS, *(f"{name}_message" for name in ACTIONS)}
    assert {kind.name for kind in FRAME_KINDS.values()} == set(get_args(FrameType))
    pushed = {one["$ref"].rpartition("/")[2] for one in OPERATIONS["push"]["messages"]}
    answers = {
        one["$ref"].rpartition("/")[2]
        for operation in OPERATIONS.values()
        for one in operation.get("reply", {}).get("messages", ())
    }
    assert pushed | answers == set(FRAME_KINDS)


def test_every_close_code_and_error_is_described() -> None:
    (channel,) = DOCUMENT["channels"].values()
    assert set(channel["x-close-codes"]) == {str(code.value) for code in CloseCode}
    described = {code for operation in OPERATIONS.values() for code in operation.get("x-errors", ())}
    own = {
        kind
        for kind in vars(websocket).values()
        if isinstance(kind, type) and issubclass(kind, ZmartdError) and kind.__module__ == websocket.__name__
    }
    assert {kind.code for kind in told_kinds(own)} - IN_THE_HANDSHAKE <= described


def test_the_host_is_that_of_a_daemon_without_settings() -> None:
    (server,) = DOCUMENT["servers"].values()
    settings = ServerSettings()
    assert server["variables"]["host"]["default"] == f"{settings.host}:{settings.port}"


def test_every_field_is_described() -> None:
    messages = DOCUMENT["components"]["messages"].values()
    schemas = [
        *DOCUMENT["components"]["schemas"].items(),
        *((one["name"], one["payload"]) for one in messages),
    ]
    undescribed = [
        f"{name}.{field}"
        for name, schema in schemas
        for field, about in schema.get("properties", {}).items()
        if not about.get("description") and "const" not in about and field != "data"
    ]
    assert not undescribed


def test_every_part_of_a_subscription_says_what_it_limits() -> None:
    subscription = DOCUMENT["components"]["messages"]["subscribe_message"]["payload"]["properties"]
    limits = {name: subscription[name]["description"] for name in ("kinds", "category", "min_cost", "wallet")}
    assert [name for name, text in limits.items() if not text.startswith("Only ")] == []


def test_the_check_of_frames_finds_what_is_not_described() -> None:
    assert not faults_of(PONG)
    wrong: list[dict[str, Any]] = [
        PONG | {"type": "pang"},
        PONG | {"seq": 1},
        PONG | {"data": {"slot": None}},
        PONG | {"data": {"slot": "1", "time": ""}},
        PONG | {"data": {"slot": 1, "time": "", "more": 1}},
        {name: value for name, value in PONG.items() if name != "timestamp"},
    ]
    assert all(faults_of(frame) for frame in wrong)


@pytest.mark.parametrize("name", [*get_args(FrameType), *ACTIONS])
def test_the_page_shows_it(name: str) -> None:
    assert f">{name}</h3>" in page(DOCUMENT)


def test_the_page_escapes_what_it_shows() -> None:
    document = asyncapi()
    document["info"]["description"] = "<script>"
    assert "<script>" not in page(document)
