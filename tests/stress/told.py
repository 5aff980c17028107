"""What clients of streams are told, checked as it comes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import asyncpg
from msgspec.structs import replace

from zmartd.realtime.frames import message_frame, wallet_frame
from zmartd.realtime.messages import Message, decode_message, market_stream, wallet_of
from zmartd.store.streams import StreamPosition

SIGNED_OUT_SECONDS = 5.0
"""What is committed so long after a sign-out must not go to the session any more. The daemon allows itself
one second; the rest is for a machine with more to do than it can.
"""
_SHORTENED = ("author", "trader", "user", "user_wallet")
"""Fields that tell anonymous clients less."""
_STORED = """
select stream.name, message.seq, message.body, extract(epoch from message.created_at)::float8 as committed_at
  from unnest($1::text[], $2::bigint[]) as told (name, seq)
  join streams as stream on stream.name = told.name
  join stream_messages as message on message.stream_id = stream.id and message.seq = told.seq
"""

Said = tuple[str, str]
"""The type of a frame, and what it says to everybody."""


class Violation(Exception):
    """What a client must never see."""


class Told:
    """What was told at each place of every stream: the same to all clients, on every daemon."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str, int], Said] = {}
        self._new: dict[tuple[str, int], Said] = {}
        """What has not been compared with the database yet."""
        self._last: list[tuple[str, int, float]] = []
        """What came after a sign-out: the stream, the number, and when that was."""

    def note(
        self, stream: str, position: StreamPosition, frame: dict[str, Any], signed_out_at: float | None = None
    ) -> None:
        """`signed_out_at`: since when the session of the client is over, by the wall clock.

        Raises Violation when another client was told something else.
        """
        said, place = _said(frame), (stream, position.epoch, position.seq)
        if place not in self._at:
            self._at[place] = self._new[stream, position.seq] = said
        if self._at[place] != said:
            raise Violation(f"{position} of {stream[:12]} is {said}, and {self._at[place]} to others")
        if signed_out_at is not None:
            self._last.append((stream, position.seq, signed_out_at))

    async def compare(self, connection: asyncpg.Connection) -> None:
        """Compare what is new with the database. Raises Violation."""
        new, self._new, last, self._last = self._new, {}, self._last, []
        places = {*new, *((stream, seq) for stream, seq, _ in last)}
        rows = await connection.fetch(_STORED, *map(list, zip(*places, strict=True))) if places else ()
        stored = {(row["name"], row["seq"]): row for row in rows}
        for stream, seq in places:
            if (stream, seq) not in stored:
                raise Violation(f"{seq} of {stream[:12]} was told, and is not in the database")
        for (stream, seq), said in new.items():
            committed = _said(_frame(stream, seq, stored[stream, seq]["body"]))
            if said != committed:
                raise Violation(f"{seq} of {stream[:12]} is {said}, and {committed} in the database")
        for stream, seq, signed_out_at in last:
            late = stored[stream, seq]["committed_at"] - signed_out_at
            if late > SIGNED_OUT_SECONDS:
                raise Violation(f"{seq} of {stream[:12]} was told, committed {late:.1f} s after the sign-out")


class Subscription:
    """What one client is told of one market or of its wallet, over all of its connections."""

    def __init__(self, name: str, told: Told) -> None:
        """`name`: a market's id, or the name of a wallet's stream."""
        self.name = name
        self.stream = name if wallet_of(name) else market_stream(name)
        self.position: StreamPosition | None = None
        """That of the newest frame, or of the state that came instead; None before the first."""
        self.current = False
        """Whether all that follows the position is to come on the present connection."""
        self.resumes = False
        """Whether it was answered that what follows the position comes later, or else a resync."""
        self.ended = True
        """Whether nothing may come any more."""
        self.gone = False
        """Whether there was no such market when it was asked for."""
        self.leaving = False
        """Whether it has asked to unsubscribe."""
        self.left = False
        """Whether that was answered."""
        self.signed_out_at: float | None = None
        """Since when the session is over, by the wall clock."""
        self.done: Counter[str] = Counter()
        self._told = told
        self._left_out: set[int] = set()
        """Numbers that were named as those of prices that do not come."""

    @property
    def seq(self) -> int | None:
        return None if self.position is None else self.position.seq

    def ask(self) -> str:
        """The message that subscribes from the position on, or anew without one."""
        self.ended = self.gone = self.leaving = self.left = self.resumes = False
        message: dict[str, Any] = {"action": "subscribe", "channel": self.stream, "id": self.name}
        if self.position is not None:
            message["since"] = {"epoch": self.position.epoch, "seq": self.position.seq}
        return json.dumps(message)

    def leave(self) -> str:
        """The message that unsubscribes. It ends once that is answered."""
        self.leaving = True
        return json.dumps({"action": "unsubscribe", "channel": self.stream, "id": self.name})

    def lose(self) -> None:
        """The connection or the session has ended."""
        self.current, self.ended, self.leaving, self.left = False, True, False, False
        self.resumes = False
        self._left_out.clear()

    def check(self, frame: dict[str, Any]) -> None:
        """Take a frame about this stream. Raises Violation."""
        data = frame["data"]
        if frame["type"] == "error":
            self._refused(data["code"])
        elif frame["type"] == "resync":
            self.current, self.resumes, self.position = False, False, None
            self.done["resync"] += 1
        elif frame["type"] == "skipped":
            self._left_out.update(data["seqs"])
            self.done["skipped"] += len(data["seqs"])
        elif "epoch" in frame:
            self._begin(StreamPosition(frame["epoch"], frame["seq"]), data.get("recovered"))
        elif "seq" in frame:
            self._follow(frame)
        elif str(data.get("message", "")).startswith("Unsubscribed"):
            self.lose()
            self.left = True
            self.done["unsubscribed"] += 1
        elif data.get("known") is False:
            self.resumes = self.position is not None
            self.done["state comes later"] += 1

    def beat(self, epoch: str, seq: int) -> None:
        """A beat says that the frame with this number was sent; `epoch` is empty before it is known.

        Raises Violation.
        """
        is_there = self.position is not None and (self.position.epoch != epoch or seq < self._next())
        if is_there:
            self._resume()
        if not self.current or not is_there:
            raise Violation(f"a beat says {seq} of {self.stream[:12]} after {self.position}")

    def _resume(self) -> None:
        """What comes next is all that follows the position, if that was to come later."""
        if self.resumes:
            self.current, self.resumes = True, False
            self.done["resumed later"] += 1

    def _next(self) -> int:
        assert self.position is not None
        seq = self.position.seq + 1
        while seq in self._left_out:
            seq += 1
        return seq

    def _refused(self, code: str) -> None:
        if code != "market_not_found":
            raise Violation(f"an error about {self.stream[:12]}: {code}")
        self.lose()
        self.gone, self.position = True, None
        self.done["gone"] += 1

    def _begin(self, at: StreamPosition, recovered: bool | None) -> None:
        if self.ended:
            raise Violation(f"a state of {self.stream[:12]} without a subscription")
        if recovered:
            if at != self.position:
                raise Violation(f"resumed {self.stream[:12]} at {at} instead of {self.position}")
            self.done["resumed"] += 1
        elif self.resumes:
            raise Violation(f"a state of {self.stream[:12]} where it was to go on after {self.position}")
        elif self.position is not None and self.position.epoch == at.epoch and at.seq < self.position.seq:
            raise Violation(f"a state of {self.stream[:12]} at {at} after {self.position}")
        else:
            self.done["state"] += 1
        self.position, self.current, self.resumes = at, True, False

    def _follow(self, frame: dict[str, Any]) -> None:
        if self.ended:
            raise Violation(f"{frame['seq']} of {self.stream[:12]} without a subscription")
        if self.position is not None and frame["seq"] == self._next():
            self._resume()
        if not self.current or self.position is None or frame["seq"] != self._next():
            raise Violation(f"{frame['type']} {frame['seq']} of {self.stream[:12]} after {self.position}")
        self.position = StreamPosition(self.position.epoch, frame["seq"])
        self.done["private frames" if wallet_of(self.name) else "frames"] += 1
        self._told.note(self.stream, self.position, frame, self.signed_out_at)


def _said(frame: dict[str, Any]) -> Said:
    data = {name: value for name, value in frame["data"].items() if name not in _SHORTENED}
    return frame["type"], json.dumps(data, sort_keys=True)


def _frame(stream: str, seq: int, body: bytes) -> dict[str, Any]:
    """The frame of a message as the database has it."""
    message = replace(decode_message(stream, body), position=StreamPosition("", seq))
    if isinstance(message, Message):
        frame = message_frame(message, message.market_id, str)
    else:
        frame = wallet_frame(message)
    decoded: dict[str, Any] = json.loads(frame.encode())
    return decoded
