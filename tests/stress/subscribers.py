"""Clients of streams that come and go, stall, resume on another daemon, sign out, and check every frame."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import aiohttp

from tests.stress.accounts import Account
from tests.stress.told import Subscription, Told, Violation
from zmartd.embedded.demo.websocket_recorder import WebSocketRecorder
from zmartd.http.sse.event_ids import positions

MARKETS = 4
"""The most markets that one client is subscribed to."""
STAY_SECONDS = (0.3, 12.0)
STALL_SECONDS = (0.5, 4.0)
LONG_STALL_SECONDS = (5.0, 20.0)
AWAY_SECONDS = (0.0, 2.0)
LONGEST_RETRY_SECONDS = 5.0
"""How long it waits at most before it tries to connect again: all of them at once would keep daemons down."""
OPEN_SECONDS = 30.0
"""How long a connection may take to open."""
POLL_SECONDS = 0.25
SIGN_OUT_SECONDS = 60.0
"""How long it may take until a client is told that its session is over: Postgres may be away meanwhile."""
RECEIVE_BYTES = 4_096
"""What the system keeps for a client that stalls."""
_CLOSING = aiohttp.ClientWSTimeout(ws_close=2.0)
_NOT_SIGNED_IN = frozenset({"auth_bad_token", "auth_session_required"})
_GONE = "market_not_found"
_OK = 200
_TOO_SLOW = 1013
_POLICY_VIOLATION = 1008


class Subscriber:
    """A person with a browser: what it has seen outlives its connections."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        daemons: Sequence[str],
        told: Told,
        rng: random.Random,
        account: Account | None = None,
    ) -> None:
        """`daemons` are the URLs of their APIs. With an account it has signed in, mostly."""
        self.session = session
        self.daemons = daemons
        self.rng = rng
        self.account = account
        self.connections = 0
        self.done: Counter[str] = Counter()
        self.violation: Violation | None = None
        self._told = told
        self._subscriptions: dict[str, Subscription] = {}
        self._stays = asyncio.Event()
        self._leaves = asyncio.Event()
        self._until = 0.0
        self._told_by: float | None = None
        """By when it has to be told that its session is over."""
        self._is_signed_out = False
        """Whether it has been told so on this connection."""
        if account is not None:
            self._subscriptions[account.stream] = Subscription(account.stream, told)

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """By the names that frames have."""
        return self._subscriptions

    @property
    def stays(self) -> bool:
        """Whether it is to remain connected and subscribed, and do nothing else."""
        return self._stays.is_set()

    @property
    def leaves(self) -> bool:
        return self._leaves.is_set()

    def stay(self, *, on: bool) -> None:
        """Remain connected and subscribed, and do nothing else."""
        if on:
            self._stays.set()
        else:
            self._stays.clear()

    def leave(self) -> None:
        """Disconnect, and do not come back."""
        self._leaves.set()

    async def live(self, markets: Sequence[str]) -> None:
        """Until told to leave, or until there is a violation. `markets` grows."""
        failures = 0
        while not self.leaves and self.violation is None:
            if not self.stays:
                await asyncio.sleep(self.rng.uniform(*AWAY_SECONDS))
                self._choose(markets)
            self._until = asyncio.get_running_loop().time() + self.rng.uniform(*STAY_SECONDS)
            try:
                await self.connect(self.rng.choice(self.daemons))
                failures = 0 if self.is_to_go() else failures + 1
            except (aiohttp.ClientError, OSError, TimeoutError):
                failures += 1
            except Violation as violation:
                self.violation = violation
            except Exception as error:  # or it would be missed, and all others with it
                self.violation = Violation(f"{type(self).__name__} failed: {error!r}")
            finally:
                self._told_by, self._is_signed_out = None, False
                for one in self._subscriptions.values():
                    one.lose()
            if failures:
                longest = min(0.1 * 2.0 ** min(failures, 10), LONGEST_RETRY_SECONDS)
                await asyncio.sleep(longest * self.rng.random())

    async def connect(self, daemon: str) -> None:
        """Connect, and listen until it is time to go. Raises Violation, ClientError, OSError."""
        raise NotImplementedError

    def is_to_go(self) -> bool:
        """Whether this connection has been long enough. Raises Violation."""
        now = asyncio.get_running_loop().time()
        if self._told_by is not None and now > self._told_by:
            raise Violation(f"not told for {SIGN_OUT_SECONDS:g} s that the session is over")
        if self.stays:
            return self.leaves or self._is_signed_out
        return self.leaves or (now >= self._until and self._told_by is None)

    def take(self, frame: dict[str, Any]) -> None:
        """Check a frame. Raises Violation."""
        if frame["type"] == "beat":
            for name, seq in frame["data"]["streams"].items():
                self._subscription(name, frame).beat(frame.get("epoch", ""), seq)
            return
        name = frame.get("market_id") or frame.get("channel")
        if name is None:
            if frame["type"] == "error":
                raise Violation(f"an error: {frame['data']}")
            return
        self._subscription(name, frame).check(frame)

    async def stall(self) -> None:
        """Now and then stop reading for a while."""
        chance = self.rng.random()
        if chance < 0.01:
            await asyncio.sleep(self.rng.uniform(*STALL_SECONDS))
        elif chance < 0.012:
            await asyncio.sleep(self.rng.uniform(*LONG_STALL_SECONDS))

    async def sign_out(self) -> None:
        """Now and then end the session, on whichever daemon. What follows is noted as told too late."""
        account = self.account
        if account is None or account.was_to_end:
            return
        own = self._subscriptions[account.stream]
        if not own.current or self.rng.random() > 0.05:
            return
        try:
            await account.sign_out(self.session, self.rng.choice(self.daemons))
        except (aiohttp.ClientError, TimeoutError):
            return
        if account.signed_out_at is not None:
            own.signed_out_at = account.signed_out_at
            self._told_by = asyncio.get_running_loop().time() + SIGN_OUT_SECONDS
            self.done["signed out"] += 1

    def session_ended(self) -> None:
        """It has been told that it is signed out. Raises Violation."""
        account = self.account
        if account is None or not account.was_to_end:
            raise Violation("told that its session is over, which nobody ended")
        self._told_by, self._is_signed_out = None, True
        self._subscriptions[account.stream].lose()

    def signed_in(self) -> None:
        """Its session was accepted. Raises Violation where it had ended."""
        if self.account is None or self.account.signed_out_at is not None:
            raise Violation("signed in with a session that is over")

    def refused(self, code: str) -> None:
        """Its session was not accepted: it signs in anew. Raises Violation where it had not ended."""
        account = self.account
        if code not in _NOT_SIGNED_IN:
            return
        if account is None or not account.was_to_end:
            raise Violation(f"refused a session that is not over: {code}")
        account.begin()
        self._subscriptions[account.stream].signed_out_at = None
        self.done["refused after signing out"] += 1

    def _subscription(self, name: str, frame: dict[str, Any]) -> Subscription:
        subscription = self._subscriptions.get(name)
        if subscription is None:
            raise Violation(f"{frame['type']} of {name[:12]}, which it has not subscribed to")
        return subscription

    def _choose(self, markets: Sequence[str]) -> None:
        """Take up one market more, or give one up and forget where it was, from time to time."""
        own = [name for name in self._subscriptions if self.account is None or name != self.account.stream]
        if not markets:
            return
        if len(own) < MARKETS and self.rng.random() < 0.4:
            name = self.rng.choice(markets[-2 * MARKETS :])
            self._subscriptions.setdefault(name, Subscription(name, self._told))
        elif len(own) > 1 and self.rng.random() < 0.2:
            self.done += self._subscriptions.pop(self.rng.choice(own)).done


class SocketSubscriber(Subscriber):
    """Uses the WebSocket."""

    async def connect(self, daemon: str) -> None:
        opening = self.session.ws_connect(f"{daemon}/ws", timeout=_CLOSING)
        async with await asyncio.wait_for(opening, OPEN_SECONDS) as socket:
            _keep_little(socket.get_extra_info("socket"))
            self.connections += 1
            if self.account is not None:
                await socket.send_str(self.account.ask())
            for one in self._subscriptions.values():
                await socket.send_str(one.ask())
            await self._listen(socket)
            self.done["too slow"] += socket.close_code == _TOO_SLOW

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while not self.is_to_go():
            if self.stays or self.rng.random() < 0.1:
                for one in self._subscriptions.values():
                    if one.left:
                        await socket.send_str(one.ask())
            try:
                message = await socket.receive(POLL_SECONDS)
            except TimeoutError:
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            frame = json.loads(message.data)
            match frame:
                case {"type": "authenticated"}:
                    self.signed_in()
                case {"type": "session_ended"}:
                    self.session_ended()
                case {"type": "error", "id": _, "data": {"code": code}} if code != _GONE:
                    self.refused(code)
                    return
            self.take(frame)
            if not self.stays:
                await self.stall()
                await self.sign_out()
                there = [one for one in self._subscriptions.values() if one.current and not one.leaving]
                if there and self.rng.random() < 0.02:
                    await socket.send_str(self.rng.choice(there).leave())


class EventSubscriber(Subscriber):
    """Uses Server-Sent Events, and goes on after its last event's id, as EventSource does."""

    async def connect(self, daemon: str) -> None:
        wanted = list(self._subscriptions.values())
        if not wanted:
            await asyncio.sleep(POLL_SECONDS)
            return
        headers = {} if self.account is None else self.account.headers
        if last_id := _event_id(wanted):
            headers = {**headers, "Last-Event-ID": last_id}
        for one in wanted:
            one.ask()
        channels = {"channels": ",".join(one.stream for one in wanted)}
        opening = self.session.get(f"{daemon}/api/stream", params=channels, headers=headers)
        async with await asyncio.wait_for(opening, OPEN_SECONDS) as response:
            if response.status != _OK:
                self._take_refusal(await response.json())
                return
            if response.connection is not None and response.connection.transport is not None:
                _keep_little(response.connection.transport.get_extra_info("socket"))
            self.connections += 1
            if self.account is not None:
                self.signed_in()
            await self._listen(response.content, wanted)

    async def _listen(self, content: aiohttp.StreamReader, wanted: Sequence[Subscription]) -> None:
        rest = b""
        while not self.is_to_go():
            try:
                data = await asyncio.wait_for(content.readany(), POLL_SECONDS)
            except TimeoutError:
                continue
            if not data:
                return
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                fields = dict(line.split(": ", 1) for line in event.decode().splitlines())
                if "data" in fields:
                    self._take_event(json.loads(fields["data"]), fields.get("id"), wanted)
            if not self.stays:
                await self.stall()
                await self.sign_out()

    def _take_event(self, frame: dict[str, Any], id_: str | None, wanted: Sequence[Subscription]) -> None:
        if frame["type"] == "end":
            self.done["too slow"] += frame["data"]["code"] == _TOO_SLOW
            if frame["data"]["code"] == _POLICY_VIOLATION:
                self.session_ended()
            return
        self.take(frame)
        self.done["events"] += 1
        for one, position in zip(wanted, positions(id_, len(wanted)) if id_ else (), strict=bool(id_)):
            if one.position is not None and one.position != position:
                raise Violation(f"the id {id_} of an event, when {one.stream[:12]} is at {one.position}")

    def _take_refusal(self, body: dict[str, Any]) -> None:
        """Raises Violation; ClientError where it may be repeated."""
        if body["code"] == _GONE:
            given = body["details"]["given"]
            self.done += self._subscriptions.pop(given).done + Counter(gone=1)
            return
        self.refused(body["code"])
        raise aiohttp.ClientError(body["code"])


class Recorder(Subscriber):
    """Uses the client of the demo, which is subscribed to all markets."""

    async def connect(self, daemon: str) -> None:
        recorder = WebSocketRecorder()
        async with recorder.recording(self.session, f"{daemon}/ws"):
            self.connections += 1
            while not self.is_to_go():
                await recorder.wait_for(lambda: self.leaves, POLL_SECONDS)
        self.done["recorded frames"] += recorder.frames
        problems = [one for one in recorder.problems if not one.startswith("error stream_unavailable")]
        if problems:
            raise Violation(f"the demo's client: {problems}")

    def _choose(self, markets: Sequence[str]) -> None:
        """It has all."""


def _keep_little(socket: Any) -> None:
    """Let the system keep little of what this client does not read. It may be closed already."""
    with suppress(OSError, AttributeError):
        socket.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BYTES)


def _event_id(wanted: Iterable[Subscription]) -> str:
    """The id of the newest event of these channels; empty if there was none."""
    epochs = {one.position.epoch for one in wanted if one.position is not None}
    if not epochs:
        return ""
    epoch = epochs.pop()
    at = (None if one.position is None or one.position.epoch != epoch else one.seq for one in wanted)
    return f"{epoch}:{','.join('-' if seq is None else str(seq) for seq in at)}"
