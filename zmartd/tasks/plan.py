"""What a run of a task would send, decided without any effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.tasks.meant import Meant


class Obstacle(Struct, frozen=True):
    """Why nothing can be said about a market; None: about a whole part of the task."""

    market_id: str | None
    detail: str


class Plan(Struct, frozen=True):
    """What would be sent, several markets in one transaction where it is `together`."""

    meant: tuple[Meant, ...]
    together: bool = False
    obstacles: tuple[Obstacle, ...] = ()


@runtime_checkable
class Planner(Protocol):
    """A task that can say what it would send."""

    async def plan(self) -> Sequence[Plan]:
        """What a run would send now. Reads alone: it is called with a database that refuses to be written.

        Raises what `run` raises.
        """


async def plan_each(
    market_ids: Iterable[str], decide: Callable[[str], Awaitable[Meant | None]], *, together: bool = False
) -> Plan:
    """The plan for each market, one after the other; an error is an obstacle of its market."""
    meant: list[Meant] = []
    obstacles: list[Obstacle] = []
    for market_id in market_ids:
        try:
            decided = await decide(market_id)
        except ZmartdError as error:
            obstacles.append(Obstacle(market_id, error.message))
        else:
            if decided is not None:
                meant.append(decided)
    return Plan(tuple(meant), together, tuple(obstacles))
