"""Each fault at each moment, one after the other, and what is left of it when it is healed: a table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from msgspec import Struct

from tests.stress.faults import Fault
from tests.stress.ledger import Verdict
from tests.stress.rig import Rig

WARM_UP_SECONDS = 0.6

_HEAD = (
    "fault",
    "moment",
    "lost",
    "doubled",
    "differ",
    "resent",
    "broken",
    "seconds",
)
_WIDTHS = (30, 48, 4, 7, 6, 6, 6, 7)

LEGEND = """
lost     events of the chain that the index lacks
doubled  events or trades that it has twice, or that are not on the chain
differ   what `zmartd audit` finds
resent   decisions that the authority carried out, or tried to, once too often
broken   promises: events of deliveries that were answered with 200 and are not in the index
seconds  from the moment that the fault was over until all was well
""".strip()


class Row(Struct, frozen=True):
    """What a fault left behind; `seconds` from the moment it was healed until all was well."""

    fault: str
    moment: str
    verdict: Verdict | None
    seconds: float
    failure: str = ""
    """Why there is no verdict."""

    @property
    def ok(self) -> bool:
        return self.verdict is not None and self.verdict.clean

    def line(self) -> str:
        """The row of the table, and under it what is wrong."""
        if self.verdict is None:
            return f"{_columns(self.fault, self.moment)}   FAILED: {self.failure}"
        found = self.verdict
        numbers = (
            found.lost,
            found.duplicated,
            found.differences,
            found.sent_twice,
            found.acknowledged_lost,
            f"{self.seconds:.1f}",
        )
        return "\n".join(
            [_columns(self.fault, self.moment, *numbers), *(f"    {note}" for note in found.notes)]
        )


def head() -> str:
    """The table's first lines."""
    return f"{_columns(*_HEAD)}\n{'-' * (sum(_WIDTHS) + len(_WIDTHS) - 1)}"


async def strike(rig: Rig, faults: Sequence[Fault]) -> Row:
    """Break it, mend it, and judge. The faults, of different subjects, strike together."""
    what, moment = " + ".join(one.what for one in faults), " + ".join(one.moment for one in faults)
    rig.go()
    await asyncio.sleep(WARM_UP_SECONDS)
    try:
        await asyncio.gather(*(fault.strike(rig) for fault in faults))
        healed = time.monotonic()
        for fault in faults:
            await fault.heal(rig)
        if not rig.system.daemon.runs:
            return Row(what, moment, None, 0.0, "the daemon has ended")
        mended = time.monotonic() - healed
        verdict, seconds = await rig.recovered()
    except Exception as error:  # a row, whatever it is, so that the others are judged, too
        return Row(what, moment, None, 0.0, f"{type(error).__name__}: {error}")
    return Row(what, moment, verdict, mended + seconds)


def _columns(*cells: object) -> str:
    texts = [str(cell) for cell in cells]
    return " ".join(
        text.ljust(width) if place < 2 else text.rjust(width)
        for place, (text, width) in enumerate(zip(texts, _WIDTHS, strict=False))
    )
