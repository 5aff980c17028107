"""Each fault at each moment, one after the other, and what is left of it when it is healed: a table."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from tests.stress.faults import Fault
from tests.stress.ledger import Verdict
from tests.stress.rig import Rig
from tests.stress.told import Violation
from tests.stress.ws import Audience, session_of_clients

WARM_UP_SECONDS = 0.6
CLIENTS = 12
"""Of the WebSocket and of Server-Sent Events, besides those of the demo."""

_HEAD = (
    "fault",
    "moment",
    "lost",
    "doubled",
    "differ",
    "resent",
    "broken",
    "streams",
    "seconds",
)
_WIDTHS = (30, 48, 4, 7, 6, 6, 6, 7, 7)

LEGEND = """
lost     events of the chain that the index lacks
doubled  events or trades that it has twice, or that are not on the chain
differ   what `zmartd audit` finds
resent   decisions that the authority carried out, or tried to, once too often
broken   promises: events of deliveries that were answered with 200 and are not in the index
streams  clients of streams that missed a message, got one twice or out of order, or what was not for them
seconds  from the moment that the fault was over until all was well
""".strip()


class Row(Struct, frozen=True):
    """What a fault left behind; `seconds` from the moment it was healed until all was well."""

    fault: str
    moment: str
    verdict: Verdict | None
    seconds: float
    wronged: tuple[str, ...] = ()
    """What each client of streams saw that saw what none must see; at the end, tables that a replay
    does not make."""
    failure: str = ""
    """Why there is no verdict."""
    together_with: tuple[str, ...] = ()
    """The names of other faults that struck at the same time."""

    @property
    def ok(self) -> bool:
        return self.verdict is not None and self.verdict.clean and not self.wronged

    def line(self) -> str:
        """The row of the table; under it what else went wrong, on purpose or not."""
        first = f"{_columns(self.fault, self.moment)}   FAILED: {self.failure}"
        notes: tuple[str, ...] = ()
        if self.verdict is not None:
            found, notes = self.verdict, self.verdict.notes + self.wronged
            first = _columns(
                self.fault,
                self.moment,
                found.lost,
                found.duplicated,
                found.differences,
                found.sent_twice,
                found.acknowledged_lost,
                len(self.wronged),
                f"{self.seconds:.1f}",
            )
        others = (f"  and {name}" for name in self.together_with)
        return "\n".join([first, *others, *(f"    {note}" for note in notes)])


def head() -> str:
    """The table's first lines."""
    return f"{_columns(*_HEAD)}\n{'-' * (sum(_WIDTHS) + len(_WIDTHS) - 1)}"


async def strike(rig: Rig, faults: Sequence[Fault], audience: Audience | None = None) -> Row:
    """Break it, mend it, and judge. The faults, of different subjects, strike together.

    `audience`: the clients of streams, if there are any.
    """
    rig.go()
    await asyncio.sleep(WARM_UP_SECONDS)
    verdict, seconds, wronged, failure = None, 0.0, tuple[str, ...](), ""
    try:
        over = max(await asyncio.gather(*(_break_and_mend(rig, fault) for fault in faults)))
        mended = time.monotonic() - over
        verdict, seconds = await rig.recovered()
        seconds += mended
        if audience is not None:
            wronged = await _wronged(audience)
    except Exception as error:  # a row, whatever it is, so that the others are judged, too
        failure = f"{type(error).__name__}: {error}"
    if not rig.system.daemon.runs:
        verdict, failure = None, "the daemon has ended"
    together_with = tuple(fault.name for fault in faults[1:])
    return Row(faults[0].what, faults[0].moment, verdict, seconds, wronged, failure, together_with)


@asynccontextmanager
async def watched(rig: Rig, rng: random.Random) -> AsyncIterator[Audience]:
    """The clients of streams, who come, go, resume and check every number."""
    async with session_of_clients() as session:
        audience = Audience(rig, session, CLIENTS, rng)
        async with audience.alive():
            yield audience


async def _wronged(audience: Audience) -> tuple[str, ...]:
    """What clients saw that none must see, or that they have not everything in the end."""
    try:
        await audience.settle()
    except Violation as violation:
        seen = tuple(str(one.violation) for one in audience.clients if one.violation is not None)
        return seen or (str(violation),)
    return ()


async def _break_and_mend(rig: Rig, fault: Fault) -> float:
    """When it was over, by the monotonic clock, and mending began."""
    await fault.strike(rig)
    over = time.monotonic()
    await fault.heal(rig)
    return over


def _columns(*cells: object) -> str:
    texts = [str(cell) for cell in cells]
    return " ".join(
        text.ljust(width) if place < 2 else text.rjust(width)
        for place, (text, width) in enumerate(zip(texts, _WIDTHS, strict=False))
    )
