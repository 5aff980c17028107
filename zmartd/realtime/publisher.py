"""Tells subscribers what changed: appended to streams with the change, and published once it is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec
from asyncpg import Connection

from zmartd.log import get_logger
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import AnyMessage
from zmartd.store import streams
from zmartd.store.pulses import Pulse

M = TypeVar("M", bound=AnyMessage)

log = get_logger(__name__)


class Publisher(Protocol):
    async def append(self, connection: Connection, messages: Sequence[M]) -> list[M]:
        """Append messages to their streams, in order, and return them with their positions.

        Takes the service transaction that makes the changes, and is the last that is done in it.
        """

    async def publish(self, messages: Sequence[AnyMessage]) -> None:
        """Publish messages that are committed. What fails here is made up for by the hubs."""

    async def publish_pulse(self, pulse: Pulse) -> None:
        """Publish a pulse that is committed."""


class StreamPublisher:
    """Publishes to the hubs of all daemons."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def append(self, connection: Connection, messages: Sequence[M]) -> list[M]:
        encoded = [(message.stream, msgspec.json.encode(message)) for message in messages]
        positions = await streams.append(connection, encoded)
        return [
            msgspec.structs.replace(message, position=position)
            for message, position in zip(messages, positions, strict=True)
        ]

    async def publish(self, messages: Sequence[AnyMessage]) -> None:
        if messages:
            log.info("streams.published", streams=_numbers(messages))
        await self._bus.publish(messages)

    async def publish_pulse(self, pulse: Pulse) -> None:
        await self._bus.publish_pulse(pulse)


class NoPublisher:
    """For an index that nobody subscribes to."""

    async def append(self, connection: Connection, messages: Sequence[M]) -> list[M]:
        return list(messages)

    async def publish(self, messages: Sequence[AnyMessage]) -> None:
        pass

    async def publish_pulse(self, pulse: Pulse) -> None:
        pass


def _numbers(messages: Sequence[AnyMessage]) -> dict[str, list[int]]:
    """The numbers of the messages in each stream, which their frames have as `seq`."""
    numbers: dict[str, list[int]] = {}
    for message in messages:
        numbers.setdefault(message.stream, []).append(message.seq)
    return numbers
