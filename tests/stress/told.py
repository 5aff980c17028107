"""What clients of streams are told, checked as it comes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from zmartd.store.streams import StreamPosition


class Violation(Exception):
    """What a client must never see."""


class Told:
    """What was told at each place of every stream: the same to all clients, on every daemon."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str, int], tuple[str, str]] = {}

    def note(self, name: str, position: StreamPosition, frame: dict[str, Any]) -> None:
        """Raises Violation when another client was told something else."""
        data = frame["data"]
        said = frame["type"], str(data.get("id") or data.get("trades") or data.get("state") or "")
        place = name, position.epoch, position.seq
        if self._at.setdefault(place, said) != said:
            raise Violation(f"{position} of {name[:4]} is {said}, and {self._at[place]} to others")


class Subscription:
    """What one client is told of one market, over all of its connections."""

    def __init__(self, name: str, told: Told) -> None:
        self.name = name
        self.position: StreamPosition | None = None
        """That of the newest frame, or of the state that came instead; None before the first."""
        self.current = False
        """Whether all that follows the position is to come on the present connection."""
        self.ended = True
        """Whether nothing may come any more."""
        self.gone = False
        """Whether there was no such market when it was asked for."""
        self.done: Counter[str] = Counter()
        self._told = told

    @property
    def seq(self) -> int | None:
        return None if self.position is None else self.position.seq

    def ask(self) -> str:
        """The message that subscribes from the position on, or anew without one."""
        self.ended = self.gone = False
        message: dict[str, Any] = {"action": "subscribe", "market_id": self.name}
        if self.position is not None:
            message["since"] = {"epoch": self.position.epoch, "seq": self.position.seq}
        return json.dumps(message)

    def leave(self) -> str:
        """The message that unsubscribes. It ends once that is answered."""
        return json.dumps({"action": "unsubscribe", "market_id": self.name})

    def lose(self) -> None:
        """The connection has ended."""
        self.current, self.ended = False, True

    def check(self, frame: dict[str, Any]) -> None:
        """Take a frame about this market. Raises Violation."""
        data = frame["data"]
        if frame["type"] == "error":
            if data["code"] != "market_not_found":
                raise Violation(f"an error about {self.name[:4]}: {data}")
            self.ended, self.gone, self.position = True, True, None
            self.done["gone"] += 1
            return
        if frame["type"] == "resync":
            self.current, self.position = False, None
            self.done["resync"] += 1
        elif "epoch" in frame:
            self._begin(StreamPosition(frame["epoch"], frame["seq"]), data.get("recovered"))
        elif "seq" in frame:
            self._follow(frame)
        elif str(data.get("message", "")).startswith("Unsubscribed"):
            self.current, self.ended = False, True
        elif data.get("known") is False:
            self.done["state comes later"] += 1

    def _begin(self, at: StreamPosition, recovered: bool | None) -> None:
        if recovered:
            if at != self.position:
                raise Violation(f"resumed {self.name[:4]} at {at} instead of {self.position}")
            self.done["resumed"] += 1
        elif self.position is not None and self.position.epoch == at.epoch and at.seq < self.position.seq:
            raise Violation(f"a state of {self.name[:4]} at {at} after {self.position}")
        else:
            self.done["state"] += 1
        self.position, self.current = at, True

    def _follow(self, frame: dict[str, Any]) -> None:
        if self.ended:
            raise Violation(f"{frame['seq']} of {self.name[:4]} without a subscription")
        if not self.current or self.position is None or frame["seq"] != self.position.seq + 1:
            raise Violation(f"{frame['type']} {frame['seq']} of {self.name[:4]} after {self.position}")
        self.position = StreamPosition(self.position.epoch, frame["seq"])
        self.done["frames"] += 1
        self._told.note(self.name, self.position, frame)
