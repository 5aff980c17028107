"""WebSockets go on while `zmartd serve` is restarted: their clients miss nothing and are told nothing."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from tests import patience
from tests.integration.realtime.listeners import ADDRESS, MARKET, OTHER_MARKET, TRADER, Markets
from tests.service_manager import RESTART, Service
from tests.shared_secrets import shared_secret
from zmartd.clock import SystemClock
from zmartd.config import AuthSettings, SolanaSettings
from zmartd.config_values import SharedSecret
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.signing_secrets import audience_of
from zmartd.http.auth.tokens import Tokens
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import OwnTransaction, VoteCast
from zmartd.socket_bundle import Bundle, unpack
from zmartd.store.postgres.database import Database

SECRETS = {
    "ZMARTD_AUTH_JWT_SECRET": shared_secret("jwt"),
    "ZMARTD_HELIUS_AUTHORIZATION": shared_secret("helius"),
    "ZMARTD_SERVER_DRAIN_SECONDS": "0.5",
}

VOTE = VoteCast(vote_type=VoteKind.PROPOSAL)
SENT = OwnTransaction(signature="s", status="sent")


class Follower:
    """A client that reads its frames one by one."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def ask(self, **message: Any) -> dict[str, Any]:
        await self.socket.send_json(message)
        return await self.next()

    async def next(self) -> dict[str, Any]:
        """The next frame, but for those that are in no stream and come at any time."""
        while True:
            message = await self.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, message
            frame: dict[str, Any] = json.loads(message.data)
            if frame["type"] not in {"beat", "vote_counts"}:
                return frame

    async def receive(self) -> aiohttp.WSMessage:
        """What comes next, but for pings."""
        while True:
            message = await self.socket.receive(timeout=patience.SECONDS)
            if message.type is not aiohttp.WSMsgType.PING:
                return message
            with suppress(ConnectionError):
                await self.socket.pong(message.data)

    async def sent_away(self) -> None:
        message = await self.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)

    async def told(self, count: int) -> list[tuple[str, int | None]]:
        """The types and numbers of the next frames."""
        frames = [await self.next() for _ in range(count)]
        return [(one["type"], one.get("seq")) for one in frames]


@pytest.fixture
async def markets(database: Database, redis_url: str) -> AsyncIterator[Markets]:
    redis = Redis.from_url(redis_url)
    made = Markets(database, Bus(redis, SystemClock()))
    await made.create()
    async with database.service() as connection:  # or the reconciler tells of it, some time
        await connection.execute("update markets set commitment = 'finalized'")
    yield made
    await redis.aclose()


@pytest.fixture
def sessions(environment: dict[str, str], database: Database) -> Sessions:
    """Sessions as the daemon makes them."""
    auth = AuthSettings(jwt_secret=SharedSecret(SECRETS["ZMARTD_AUTH_JWT_SECRET"]))
    audience = audience_of(SolanaSettings().cluster, environment["ZMARTD_SOLANA_PROGRAM_ID"])
    clock = SystemClock()
    tokens = Tokens(auth, audience, clock, lambda: secrets.token_hex(16))
    return Sessions(tokens, Revocations(database, clock), clock)


@pytest.fixture
async def service(environment: dict[str, str], markets: Markets, tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path, environment | SECRETS) as service:
        await service.start()
        yield service


@pytest.fixture
async def connect(service: Service) -> AsyncIterator[Any]:
    """Connects a follower, welcomed."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(service.url))

        async def connected(**options: Any) -> Follower:
            socket = await stack.enter_async_context(session.ws_connect("/ws", autoping=False, **options))
            follower = Follower(socket)
            await follower.next()
            return follower

        yield connected


async def stopped(service: Service) -> None:
    service.send(RESTART)
    assert await service.ended() == 0
    assert [name for name, _ in service.kept] == ["websockets"]


async def test_clients_of_all_kinds_go_on_where_they_were(
    service: Service, connect: Any, markets: Markets, sessions: Sessions
) -> None:
    plain, every, filtered, deflating, own = [
        await connect(**options) for options in ({}, {}, {}, {"compress": 15}, {})
    ]
    token, _ = sessions.open(TRADER)
    await plain.ask(action="subscribe", market_id=ADDRESS)
    await every.ask(action="subscribe", market_id="*")
    await filtered.ask(action="subscribe", market_id=MARKET, kinds=["trade"])
    await deflating.ask(action="subscribe", market_id=MARKET)
    assert (await own.ask(action="auth", token=token))["type"] == "authenticated"
    await own.ask(action="subscribe", channel="user")
    await markets.change(None, VOTE)
    await markets.tell(TRADER, SENT)
    for follower in (plain, every, deflating):
        assert await follower.told(2) == [("trade", 1), ("vote", 2)]
    assert await filtered.told(1) == [("trade", 1)]
    assert await own.told(1) == [("transaction", 1)]

    await stopped(service)
    await markets.commit(VOTE, None)  # the database alone knows of it
    await markets.commit(None, market_id=OTHER_MARKET)
    await markets.commit_for(TRADER, SENT)
    await every.socket.send_json({"action": "ping"})
    await service.start()
    assert not service.kept
    for follower in (plain, deflating):
        assert await follower.told(2) == [("vote", 3), ("trade", 4)]
    assert await own.told(1) == [("transaction", 2)]
    assert sorted(await every.told(4), key=str) == [("pong", None), ("trade", 1), ("trade", 4), ("vote", 3)]
    frame = await filtered.next()
    assert (frame["type"], frame["seq"], frame["prev_seq"]) == ("trade", 4, 1)

    await markets.change(None)
    for follower in (plain, every, filtered, deflating):
        assert await follower.told(1) == [("trade", 5)]
    assert (await plain.ask(action="unsubscribe", market_id=ADDRESS))["data"]["subscriptions"] == []
    assert (await own.ask(action="subscribe", market_id=MARKET))["data"]["subscriptions"] == [
        f"user:{TRADER}",
        MARKET,
    ]


async def test_it_is_kept_again_and_again(service: Service, connect: Any, markets: Markets) -> None:
    follower = await connect()
    await follower.ask(action="subscribe", market_id=MARKET)
    for seq in range(1, 4):
        await stopped(service)
        await markets.commit(None)
        await service.start()
        assert await follower.told(1) == [("trade", seq)]
    assert await metric(service, "zmartd_websocket_connections") == 1
    assert await metric(service, "zmartd_websocket_taken_over_connections_total") == 1
    assert await metric(service, "zmartd_websocket_lost_connections_total") == 0


async def test_a_session_that_ended_meanwhile_is_over(
    service: Service, connect: Any, markets: Markets, sessions: Sessions
) -> None:
    follower = await connect()
    token, session = sessions.open(TRADER)
    await follower.ask(action="auth", token=token)
    await follower.ask(action="subscribe", channel="user")
    await stopped(service)
    await sessions.end(session)
    await markets.commit_for(TRADER, SENT)
    await service.start()
    frame = await follower.next()
    assert (frame["type"], frame["data"]["unsubscribed"]) == ("session_ended", [f"user:{TRADER}"])
    assert (await follower.ask(action="subscribe", channel="user"))["data"]["code"] == "auth_session_required"


async def test_a_token_of_a_secret_that_was_replaced_is_over(
    environment: dict[str, str], service: Service, connect: Any, sessions: Sessions
) -> None:
    follower = await connect()
    token, _ = sessions.open(TRADER)
    await follower.ask(action="auth", token=token)
    await stopped(service)
    service.environment["ZMARTD_AUTH_JWT_SECRET"] = shared_secret("another")
    await service.start()
    assert (await follower.next())["type"] == "session_ended"


async def test_who_is_in_the_middle_of_a_message_is_sent_away(
    service: Service, connect: Any, markets: Markets
) -> None:
    half, whole = await connect(), await connect()
    await whole.ask(action="subscribe", market_id=MARKET)
    transport = half.socket._writer.transport
    transport.write(b"\x81\x85\x00\x00")
    assert (await whole.ask(action="ping"))["type"] == "pong"  # it has been read by then
    await stopped(service)
    await half.sent_away()
    await service.start()
    await markets.change(None)
    assert await whole.told(1) == [("trade", 1)]


async def test_where_nothing_may_be_kept_clients_are_sent_away(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with (
        Service(tmp_path, environment | SECRETS, stores=0) as service,
        aiohttp.ClientSession(service.url) as session,
    ):
        await service.start()
        async with session.ws_connect("/ws") as socket:
            await socket.receive()
            service.send(RESTART)
            told = await socket.receive(timeout=patience.SECONDS)
            assert (told.type, told.data) == (aiohttp.WSMsgType.CLOSE, 1012)
            await socket.close()
            assert await service.ended() == 0


async def test_a_state_that_is_not_known_sends_all_away(
    service: Service, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = await connect()
    await stopped(service)
    (name, descriptor), service.kept = service.kept[0], []
    with socket.socket(fileno=descriptor) as reader, Bundle() as bundle:
        _, sockets = unpack(reader)
        bundle.add([one.fileno() for one in sockets])
        bundle.describe(b'{"version": 2}')
        service.kept = [(name, os.dup(bundle.reader.fileno()))]
        for one in sockets:
            one.close()
    await service.start()
    await follower.sent_away()


async def test_one_that_is_stopped_for_good_sends_them_away(service: Service, connect: Any) -> None:
    follower = await connect()
    service.send(signal.SIGTERM)
    await follower.sent_away()
    await follower.socket.close()
    assert await service.ended() == 0
    assert not service.kept


async def metric(service: Service, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{service.operator_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    (value,) = (line.split()[1] for line in lines if line.split()[0] == name)
    return float(value)
