from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from tests.integration.http.rest.database_cable import laid_cable
from tests.integration.http.ws.websocket_daemon import (
    AUTH,
    NEWEST_SLOT,
    Daemon,
    StartDaemon,
    eventually,
    running_daemon,
    trade,
)
from tests.integration.realtime.listeners import ADDRESS, MARKET, TRADER
from zmartd import config
from zmartd.config import AuthSettings, RealtimeSettings
from zmartd.config_values import PostgresUrl
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.http.ws.endpoint import WEBSOCKET
from zmartd.http.ws.session_monitor import INTERVAL_SECONDS, VALID_SECONDS
from zmartd.realtime.messages import OwnTransaction
from zmartd.store.postgres.database import Database

SHORTENED = "FZ5W…dMYX"
VERSIONS = count(1)


async def frame(socket: ClientWebSocketResponse) -> dict[str, Any]:
    return dict(await socket.receive_json(timeout=120))


async def connect(daemon: Daemon, path: str = "/ws", **options: Any) -> ClientWebSocketResponse:
    """A connection that has been welcomed."""
    socket: ClientWebSocketResponse = await daemon.client.ws_connect(path, **options)
    assert (await frame(socket))["type"] == "welcome"
    return socket


async def subscribe(socket: ClientWebSocketResponse, name: str = MARKET) -> dict[str, Any]:
    await socket.send_json({"action": "subscribe", "market_id": name})
    return await frame(socket)


async def until_closed(socket: ClientWebSocketResponse) -> tuple[int | None, str]:
    """The code with which the server closes the connection, and why."""
    async with asyncio.timeout(120):
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            pass
    return socket.close_code, message.extra or ""


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/"])
async def test_the_first_frame_is_a_welcome(daemon: Daemon, path: str) -> None:
    async with daemon.client.ws_connect(path) as socket:
        welcome = await frame(socket)
    assert (welcome["type"], welcome["data"]["client_id"]) == ("welcome", "client_1")
    assert "market_id" not in welcome
    assert welcome["timestamp"].endswith("Z")


async def test_a_subscription_is_answered_with_the_market_as_it_is(daemon: Daemon) -> None:
    for name in (MARKET, ADDRESS):
        answer = await subscribe(await connect(daemon), name)
        assert (answer["type"], answer["market_id"], answer["seq"]) == ("market_state", name, 0)
        data = answer["data"]
        assert "Subscribed" in data["message"]
        assert data["subscriptions"] == [name]
        assert (data["priceYes"], data["priceNo"], data["totalShares"]) == (0.5, 0.5, "0")


async def test_a_market_id_may_be_written_in_capitals(daemon: Daemon) -> None:
    socket = await connect(daemon)
    assert (await subscribe(socket, MARKET.upper()))["data"]["known"] is True


async def test_what_is_published_arrives_once_and_in_order(daemon: Daemon) -> None:
    socket = await connect(daemon)
    await subscribe(socket)
    await daemon.markets.change(*(trade(number) for number in range(1, 21)))
    frames = [await frame(socket) for _ in range(20)]
    assert [one["seq"] for one in frames] == list(range(1, 21))
    assert {one["type"] for one in frames} == {"trade"}
    assert {one["data"]["trader"] for one in frames} == {"FZ5W…dMYX"}


async def test_frames_longer_than_a_short_header_can_say_arrive_whole(daemon: Daemon) -> None:
    socket = await connect(daemon)
    await subscribe(socket)
    note = "x" * 60_000
    await daemon.markets.change(trade(1, note), trade(2))
    assert (await frame(socket))["data"]["id"] == f"1{note}"
    assert (await frame(socket))["seq"] == 2


async def test_after_unsubscribing_nothing_more_arrives(daemon: Daemon) -> None:
    socket, witness = await connect(daemon), await connect(daemon)
    await subscribe(witness)
    await subscribe(socket)
    await socket.send_json({"action": "unsubscribe", "market_id": MARKET})
    answer = await frame(socket)
    assert "Unsubscribed" in answer["data"]["message"]
    assert answer["data"]["subscriptions"] == []
    await daemon.markets.change(trade(1))
    assert (await frame(witness))["seq"] == 1
    assert (await subscribe(socket))["type"] == "market_state"


async def test_two_daemons_on_one_redis_both_deliver(start: StartDaemon) -> None:
    first, second = await start(), await start()
    sockets = [await connect(first), await connect(second)]
    for socket in sockets:
        await subscribe(socket)
    await first.markets.change(trade(1))
    assert [(await frame(socket))["seq"] for socket in sockets] == [1, 1]


@pytest.mark.parametrize(
    ("text", "says", "code"),
    [
        ('{"action":"subscribe"}', "market_id required", "market_id_required"),
        ('{"action":"subscribe","market_id":""}', "market_id required", "market_id_required"),
        ('{"action":"unsubscribe","market_id":null}', "market_id required", "market_id_required"),
        (json.dumps({"action": "subscribe", "market_id": "x" * 129}), "market_id must be", "invalid_message"),
        ('{"action":"dance"}', 'Unknown action "dance"; send one of subscribe, unsub', "unknown_action"),
        ('{"action":"Subscribe"}', "did you mean subscribe?", "unknown_action"),
        ('{"action":"subscribe","marketid":"*"}', "did you mean market_id?", "invalid_message"),
        (
            '{"action":"subscribe","market_id":"*","topic":"trades"}',
            "topic is not a key",
            "invalid_message",
        ),
        ('{"action":"subscribe","market_id":"*","channel":"*"}', "not both", "invalid_message"),
        ('{"action":"subscribe","channel":"markets"}', 'did you mean "market:"?', "unknown_channel"),
        ('{"action":"subscribe","channel":"user"}', "", "auth_session_required"),
        (f'{{"action":"subscribe","channel":"user:{TRADER}"}}', "alone", "foreign_stream"),
        ('{"action":"subscribe","channels":[]}', "channels must be a list of 1 to 100", "invalid_message"),
        ('{"action":"subscribe","channels":[{"chanel":"*"}]}', "channels must be a list", "invalid_message"),
        ('{"action":"subscribe","channels":["*","users"]}', 'did you mean "user"?', "unknown_channel"),
        (
            '{"action":"subscribe","channels":["*","*"]}',
            "channels[1] is a channel that is",
            "invalid_message",
        ),
        (
            f'{{"action":"subscribe","channels":["*"],"since":{{"epoch":"{"0" * 16}","seq":1}}}}',
            "each of",
            "invalid_message",
        ),
        ('{"action":"subscribe","market_id":"*","since":"12"}', 'or "epoch:seq"', "invalid_message"),
        (
            f'{{"action":"subscribe","market_id":"*","since":"{"0" * 16}:{"9" * 16}"}}',
            "since must be",
            "invalid_message",
        ),
        ('{"action":"subscribe","channel":"*","kinds":["trades"]}', "did you mean trade?", "invalid_message"),
        ('{"action":"subscribe","channel":"*","kind":["trade"]}', "did you mean kinds?", "invalid_message"),
        ('{"action":"subscribe","channel":"*","min_cost":5}', "min_cost must be lamports", "invalid_message"),
        ('{"action":"subscribe","channel":"*","category":"x"}', "category must be one of", "invalid_message"),
        (f'{{"action":"subscribe","channel":"*","wallet":"{TRADER}"}}', "", "auth_session_required"),
        ('{"action":"auth","token":"x","market_id":"*"}', "market_id is not a key", "invalid_message"),
        ('{"action":"ping","slot":1}', "which takes action, id", "invalid_message"),
        ('{"action":"subscribe","market_id":"*","marketId":"*"}', "must be given once", "invalid_message"),
        ('{"action":"subscribe","market_id":"*","market_id":"*"}', "must be given once", "invalid_message"),
        ('{"action":"ping","action":"pong"}', "action must be given once", "invalid_message"),
        ('{"action":"ping","id":{}}', "id must be a text of at most 64 characters", "invalid_message"),
        ('{"action":"subscribe","market_id":"nowhere"}', 'no market "nowhere"', "market_not_found"),
        (json.dumps({"action": "subscribe", "market_id": "ab" * 32}), "no market", "market_not_found"),
        ('{"action":"auth"}', "token required", "token_required"),
        ('{"action":"auth","token":"x.y.z"}', "token", "auth_bad_token"),
        ("hello", "Invalid message format", "invalid_message"),
        ("[]", "Invalid message format", "invalid_message"),
        ("{}", "Invalid message format", "invalid_message"),
        ('{"action":5}', "Invalid message format", "invalid_message"),
        ('{"action":"subscribe","market_id":5}', "Invalid message format", "invalid_message"),
        ("[" * 4_000, "Invalid message format", "invalid_message"),
    ],
)
async def test_a_bad_message_is_answered_and_the_connection_stays(
    daemon: Daemon, text: str, says: str, code: str
) -> None:
    socket = await connect(daemon)
    await socket.send_str(text)
    answer = await frame(socket)
    assert (answer["type"], answer["data"]["code"]) == ("error", code)
    assert says in answer["data"]["error"]
    state = await subscribe(socket)
    assert (state["type"], state["data"]["subscriptions"]) == ("market_state", [MARKET])


WITH_NOWHERE = '{"action":"subscribe","channels":["*","market:nowhere"]}'


@pytest.mark.parametrize(
    ("text", "code", "field", "says"),
    [
        (
            f'{{"action":"subscribe","channel":"*","wallet":"{TRADER}"}}',
            "auth_session_required",
            "wallet",
            "wallet is for clients who have signed in",
        ),
        (
            '{"action":"subscribe","channel":"user"}',
            "auth_session_required",
            "channel",
            '"user" is the stream of the wallet that has signed in',
        ),
        (
            '{"action":"unsubscribe","channels":["*","user"]}',
            "auth_session_required",
            "channels[1]",
            "sign in with action auth first",
        ),
        (f'{{"action":"subscribe","channel":"user:{TRADER}"}}', "foreign_stream", "channel", "sign in as it"),
        (
            f'{{"action":"subscribe","channels":["*","user:{TRADER}"]}}',
            "foreign_stream",
            "channels[1]",
            "sign in as it",
        ),
        ('{"action":"subscribe","market_id":"nowhere"}', "market_not_found", "market_id", "GET /api/markets"),
        ('{"action":"subscribe","channel":"market:nowhere"}', "market_not_found", "channel", "GET /api/"),
        (WITH_NOWHERE, "market_not_found", "channels[1]", 'no market "nowhere"'),
    ],
)
async def test_what_a_subscription_may_not_have_is_named_by_its_key(
    daemon: Daemon, text: str, code: str, field: str, says: str
) -> None:
    socket = await connect(daemon)
    await socket.send_str(text)
    answer = (await frame(socket))["data"]
    assert (answer["code"], answer["field"]) == (code, field)
    assert says in answer["error"]


async def test_bytes_are_no_message(daemon: Daemon) -> None:
    socket = await connect(daemon)
    await socket.send_bytes(b'{"action":"subscribe","market_id":"*"}')
    assert (await frame(socket))["data"]["code"] == "invalid_message"


async def test_a_pong_is_not_answered(daemon: Daemon) -> None:
    socket = await connect(daemon)
    await socket.send_json({"action": "pong"})
    assert (await subscribe(socket))["type"] == "market_state"


async def test_an_answer_has_the_id_of_its_message_and_names_what_is_wrong(daemon: Daemon) -> None:
    token, _ = daemon.sessions.open(TRADER)
    socket = await connect(daemon)
    asked: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"action": "subscribe", "market_id": MARKET, "id": "a"}, "market_state", {"market_id": MARKET}),
        ({"action": "unsubscribe", "market_id": MARKET, "id": 2}, "market_state", {"market_id": MARKET}),
        ({"action": "subscribe", "market_id": "*", "id": ""}, "market_state", {"market_id": "*"}),
        ({"action": "auth", "token": token, "id": -4}, "authenticated", {}),
        ({"action": "ping", "id": "b"}, "pong", {}),
        ({"action": "subscribe", "market_id": "ab" * 32, "id": 5}, "error", {"market_id": "ab" * 32}),
        ({"action": "subscribe", "market": MARKET, "id": 6}, "error", {"data.field": "market"}),
        ({"action": "subscribe", "id": 7}, "error", {"data.field": "market_id"}),
        ({"action": "dance", "id": 8}, "error", {"data.field": "action"}),
        ({"action": "ping", "id": "x" * 65}, "error", {"data.field": "id"}),
        ({"action": "ping", "id": True}, "error", {"data.field": "id"}),
    ]
    for message, kind, named in asked:
        await socket.send_json(message)
        answer = await frame(socket)
        answer["data.field"] = answer["data"].get("field")
        assert answer["type"] == kind
        assert {name: answer.get(name) for name in named} == named
        is_valid = message["id"] is not True and len(str(message["id"])) <= 64
        assert answer.get("id") == (message["id"] if is_valid else None)


@pytest.mark.parametrize("text", ['{"action":"ping"}', "PING"])
async def test_a_ping_is_answered_with_the_newest_slot_and_the_time(daemon: Daemon, text: str) -> None:
    socket = await connect(daemon)
    before = datetime.now(UTC)
    await socket.send_str(text)
    answer = await frame(socket)
    assert answer == {
        "type": "pong",
        "timestamp": answer["timestamp"],
        "data": {"slot": NEWEST_SLOT, "time": answer["timestamp"]},
    }
    assert timedelta(0) <= datetime.fromisoformat(answer["timestamp"]) - before + timedelta(milliseconds=1)


async def test_pings_count_as_messages(start: StartDaemon) -> None:
    socket = await connect(await start(RealtimeSettings(max_messages_per_minute=2)))
    for text, kind in (("PING", "pong"), ('{"action":"ping"}', "pong"), ("PING", "error")):
        await socket.send_str(text)
        assert (await frame(socket))["type"] == kind


async def test_a_message_that_is_too_large_ends_the_connection(start: StartDaemon) -> None:
    socket = await connect(await start(RealtimeSettings(max_message_bytes=256)))
    await socket.send_str('{"action":"ping"}'.ljust(256))
    assert (await frame(socket))["type"] == "pong"
    await socket.send_str('{"action":"ping"}'.ljust(257))
    assert (await until_closed(socket))[0] == 1009


async def test_a_client_that_sends_too_many_messages_is_told_so_and_closed(start: StartDaemon) -> None:
    socket = await connect(await start(RealtimeSettings(max_messages_per_minute=2)))
    for _ in range(2):
        assert (await subscribe(socket))["type"] == "market_state"
    answer = await subscribe(socket, "*")
    assert (answer["type"], answer["data"]["code"]) == ("error", "too_many_messages")
    assert (await until_closed(socket))[0] == 1008


async def test_who_subscribes_too_often_is_told_so(daemon: Daemon) -> None:
    socket = await connect(daemon)
    for name in (MARKET, ADDRESS, "*"):
        assert (await subscribe(socket, name))["type"] == "market_state"
    refused = await subscribe(socket, "ab" * 32)
    assert (refused["market_id"], refused["data"]["code"]) == ("ab" * 32, "too_many_subscriptions")


async def test_an_address_may_hold_so_many_connections(start: StartDaemon) -> None:
    daemon = await start(RealtimeSettings(max_connections_per_ip=2))
    sockets = [await connect(daemon) for _ in range(2)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await connect(daemon)
    assert refused.value.status == 429
    await connect(daemon, headers={"X-Forwarded-For": "198.51.100.1"})
    await sockets[0].close()
    await eventually(lambda: _accepted(daemon))


async def _accepted(daemon: Daemon) -> bool:
    try:
        await connect(daemon)
    except WSServerHandshakeError:
        return False
    return True


async def test_without_an_upgrade_the_caller_is_told_what_this_is(daemon: Daemon) -> None:
    response = await daemon.client.get("/ws")
    assert (response.status, (await response.json())["code"]) == (426, "upgrade_required")
    response = await daemon.client.get("/")
    assert (response.status, "/ws " in await response.text()) == (200, True)


async def test_a_broken_handshake_is_refused(daemon: Daemon) -> None:
    response = await daemon.client.get("/ws", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
    assert response.status == 400


async def test_a_key_that_is_no_text_is_refused(daemon: Daemon) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    response = await daemon.client.get("/ws", headers=headers | {"Sec-WebSocket-Key": "ÿ"})
    assert (response.status, (await response.json())["code"]) == (400, "invalid_http")


async def test_who_signs_in_sees_whole_wallets(daemon: Daemon) -> None:
    token, session = daemon.sessions.open(TRADER)
    by_query = await connect(daemon, f"/ws?token={token}")
    by_header = await connect(daemon, headers={"Authorization": f"Bearer {token}"})
    by_message = await connect(daemon)
    await by_message.send_json({"action": "auth", "token": token})
    for socket in (by_query, by_header, by_message):
        answer = await frame(socket)
        assert (answer["type"], answer["data"]["wallet"]) == ("authenticated", TRADER)
        await subscribe(socket)
    await daemon.markets.change(trade(1))
    for socket in (by_query, by_header, by_message):
        assert (await frame(socket))["data"]["trader"] == TRADER
    assert session.wallet == TRADER


async def test_a_bad_token_does_not_cost_the_public_frames(daemon: Daemon) -> None:
    token, session = daemon.sessions.open(TRADER)
    await daemon.sessions.end(session)
    socket = await connect(daemon, f"/ws?token={token}")
    assert (await frame(socket))["data"]["code"] == "auth_bad_token"
    await subscribe(socket)
    await daemon.markets.change(trade(1))
    assert (await frame(socket))["data"]["trader"] == "FZ5W…dMYX"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [({"token_seconds": 1}, "auth_expired"), ({"session_seconds": 1}, "auth_session_over")],
)
async def test_when_its_time_is_over_a_session_ends_on_open_sockets(
    start: StartDaemon, seconds: dict[str, Any], code: str
) -> None:
    daemon = await start(auth=AuthSettings(jwt_secret=AUTH.jwt_secret, **seconds))
    token, _ = daemon.sessions.open(TRADER)
    socket = await connect(daemon, f"/ws?token={token}")
    await socket.send_json({"action": "subscribe", "market_id": MARKET})
    answers = {answer["type"]: answer for answer in [await frame(socket) for _ in range(3)]}
    assert set(answers) == {"authenticated", "market_state", "session_ended"}
    assert (answers["session_ended"]["data"]["code"], answers["session_ended"]["data"]["wallet"]) == (
        code,
        TRADER,
    )
    assert await trader_shown(daemon, socket) == SHORTENED


async def signed_in(daemon: Daemon, token: str) -> ClientWebSocketResponse:
    """A socket that watches MARKET with a session."""
    socket = await connect(daemon, f"/ws?token={token}")
    assert (await frame(socket))["type"] == "authenticated"
    await subscribe(socket)
    return socket


async def trader_shown(daemon: Daemon, socket: ClientWebSocketResponse) -> str:
    """How a socket is shown who trades."""
    await daemon.markets.change(trade(next(VERSIONS)))
    answer = await frame(socket)
    assert answer["type"] == "trade"
    return str(answer["data"]["trader"])


async def test_a_session_that_is_signed_out_ends_on_open_sockets_of_every_daemon(start: StartDaemon) -> None:
    here, elsewhere = await start(), await start()
    token, session = here.sessions.open(TRADER)
    kept_token, _ = here.sessions.open(TRADER)
    sockets = [await signed_in(daemon, token) for daemon in (here, here, elsewhere)]
    kept = await signed_in(elsewhere, kept_token)
    await here.sessions.end(session)
    for socket in sockets:
        ended = await frame(socket)
        assert (ended["type"], ended["data"]["code"]) == ("session_ended", "auth_bad_token")
        assert ended["data"]["wallet"] == TRADER
    await here.markets.change(trade(next(VERSIONS)))
    shown = [(await frame(socket))["data"]["trader"] for socket in [*sockets, kept]]
    assert shown == [SHORTENED] * 3 + [TRADER]
    await sockets[0].send_json({"action": "auth", "token": kept_token})
    assert (await frame(sockets[0]))["type"] == "authenticated"
    assert await trader_shown(here, sockets[0]) == TRADER


async def test_signing_out_everywhere_ends_every_socket_of_the_wallet(start: StartDaemon) -> None:
    here, elsewhere = await start(), await start()
    opened = [here.sessions.open(TRADER), elsewhere.sessions.open(TRADER)]
    sockets = [await signed_in(daemon, token) for daemon in (here, elsewhere) for token, _ in opened]
    neighbour = await signed_in(here, here.sessions.open(ADDRESS)[0])
    await elsewhere.sessions.end_all(opened[0][1])
    for socket in sockets:
        assert (await frame(socket))["type"] == "session_ended"
    assert await trader_shown(here, neighbour) == TRADER


async def test_a_renewed_session_goes_on_and_its_end_reaches_sockets_from_before(daemon: Daemon) -> None:
    token, session = daemon.sessions.open(TRADER)
    _, witness_session = witness = daemon.sessions.open(TRADER)
    socket, witness_socket = await signed_in(daemon, token), await signed_in(daemon, witness[0])
    _, renewed = await daemon.sessions.renew(session)
    await daemon.sessions.end(witness_session)  # a look after the renewal has been made when this is told
    assert (await frame(witness_socket))["type"] == "session_ended"
    assert await trader_shown(daemon, socket) == TRADER
    await daemon.sessions.end(renewed)
    assert (await frame(socket))["type"] == "session_ended"


async def test_sockets_learn_of_it_without_redis(database: Database, tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as valkey, running_daemon(valkey.url, database) as daemon:
        token, session = daemon.sessions.open(TRADER)
        socket = await signed_in(daemon, token)
        await valkey.stop()
        await daemon.sessions.end(session)
        while (ended := await frame(socket))["type"] == "resync":
            pass
        assert ended["type"] == "session_ended"


async def test_while_nobody_knows_who_is_signed_in_wallets_are_shortened(
    start: StartDaemon, database_url: str, tmp_path: Path
) -> None:
    async with laid_cable(database_url, tmp_path) as cable:
        reached = await Database.connect(config.DatabaseSettings(url=PostgresUrl(cable.url), pool_size=3))
        daemon, other = await start(database=reached), await start()
        socket = await signed_in(daemon, daemon.sessions.open(TRADER)[0])
        assert await trader_shown(other, socket) == TRADER
        await cable.cut()
        await eventually(lambda: _is_shown(other, socket, SHORTENED))
        await cable.lay()
        await eventually(lambda: _is_shown(other, socket, TRADER))
        await reached.close()


async def _is_shown(daemon: Daemon, socket: ClientWebSocketResponse, trader: str) -> bool:
    return await trader_shown(daemon, socket) == trader


def test_the_end_of_a_session_is_noticed_within_a_second() -> None:
    assert 2 * INTERVAL_SECONDS < VALID_SECONDS < 1


async def test_an_idle_client_is_pinged_and_a_dead_one_is_let_go(start: StartDaemon) -> None:
    daemon = await start(RealtimeSettings(heartbeat_seconds=0.1, max_connections_per_ip=1))
    dead = await connect(daemon, autoping=False)
    assert (await dead.receive(timeout=120)).type is WSMsgType.PING
    await eventually(lambda: _accepted(daemon))


async def test_a_daemon_that_drains_takes_no_more_clients(daemon: Daemon) -> None:
    socket = await connect(daemon)
    closing = asyncio.create_task(until_closed(socket))
    assert daemon.client.app is not None
    await daemon.client.app[WEBSOCKET].drain(0)
    assert (await closing)[0] == 1012
    with pytest.raises(WSServerHandshakeError) as refused:
        await connect(daemon)
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert int(refused.value.headers["Retry-After"]) > 0


async def test_at_shutdown_clients_are_told_to_come_back(daemon: Daemon) -> None:
    socket = await connect(daemon)
    closing = asyncio.create_task(until_closed(socket))
    await daemon.client.server.close()
    code, reason = await closing
    assert code == 1012
    assert re.fullmatch(r"the server is restarting; retry: [1-9][0-9]{2,3}", reason)


async def test_a_wallet_s_own_frames_reach_its_sockets_alone_and_end_with_its_session(
    start: StartDaemon,
) -> None:
    here, elsewhere = await start(), await start()
    token, session = here.sessions.open(TRADER)
    own, neighbour = await signed_in(elsewhere, token), await signed_in(here, here.sessions.open(ADDRESS)[0])
    anonymous = await connect(here)
    for socket, channel, answered in (
        (own, "user", "user_state"),
        (neighbour, "user", "user_state"),
        (anonymous, "*", "market_state"),
        (neighbour, f"user:{TRADER}", "error"),
    ):
        await socket.send_json({"action": "subscribe", "channel": channel})
        assert (await frame(socket))["type"] == answered
    sent = OwnTransaction(signature="s", status="sent")
    await here.markets.tell(TRADER, sent)
    told = await frame(own)
    assert (told["type"], told["channel"], told["seq"]) == ("transaction", f"user:{TRADER}", 1)
    await here.sessions.end(session)
    ended = await frame(own)
    assert (ended["type"], ended["data"]["unsubscribed"]) == ("session_ended", [f"user:{TRADER}"])
    await here.markets.tell(TRADER, sent)
    await here.markets.tell(ADDRESS, sent)
    await here.markets.change(trade(next(VERSIONS)))
    assert (await frame(neighbour))["channel"] == f"user:{ADDRESS}"
    assert (await frame(anonymous))["type"] == "trade"
    assert (await frame(own))["type"] == "trade", "of the market that it is subscribed to"


async def test_a_position_can_be_given_as_answers_have_it(daemon: Daemon) -> None:
    socket = await signed_in(daemon, daemon.sessions.open(TRADER)[0])
    first = await daemon.markets.tell(TRADER, *[OwnTransaction(signature="s", status="sent")] * 2)
    since = str(first[0].position)
    for wanted in ({"channel": "user", "since": since}, {"channels": [{"channel": "user", "since": since}]}):
        await socket.send_json({"action": "subscribe", **wanted})
        answer, missed = await frame(socket), await frame(socket)
        told = answer["data"]["channels"][0] if "channels" in wanted else answer["data"]
        assert told["recovered"] is True
        assert missed["seq"] == 2
        await socket.send_json({"action": "unsubscribe", "channel": "user"})
        await frame(socket)


async def test_several_channels_are_one_message_and_one_answer(daemon: Daemon) -> None:
    socket = await signed_in(daemon, daemon.sessions.open(TRADER)[0])
    first = await daemon.markets.tell(TRADER, *[OwnTransaction(signature="s", status="sent")] * 2)
    assert first[0].position is not None
    since = {"epoch": first[0].position.epoch, "seq": 1}
    channels = [f"market:{MARKET.upper()}", {"channel": "user", "since": since}]
    await socket.send_json({"action": "subscribe", "channels": channels, "id": 1, "kinds": ["transaction"]})
    answer, missed = await frame(socket), await frame(socket)
    assert (answer["type"], answer["id"]) == ("subscribed", 1)
    assert [one["channel"] for one in answer["data"]["channels"]] == [channels[0], "user"]
    assert answer["data"]["channels"][1]["recovered"] is True
    assert (missed["seq"], missed["prev_seq"]) == (2, 1)
    await socket.send_json({"action": "unsubscribe", "channels": ["user"], "id": 2})
    answer = await frame(socket)
    assert (answer["type"], answer["data"]["subscriptions"]) == ("unsubscribed", [MARKET])
