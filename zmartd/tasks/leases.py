"""The leases of the runs that this daemon holds, renewed together."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import Gauge

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.store.task_ledger import Held
from zmartd.tasks.ledger import TaskLedger

log = get_logger(__name__)

_HELD: Final = Gauge("zmartd_task_leases", "Runs of periodic tasks that this daemon holds.")

RENEWALS_PER_LEASE: Final = 4
CANCELLED_BEFORE_END: Final = 0.1
"""The part of a lease before its end in which its holder only stops."""


class Lease:
    """A run that is held, until `valid_until` by the monotonic clock, or until it is `lost`."""

    def __init__(self, held: Held, valid_until: float) -> None:
        self.held = held
        self.valid_until = valid_until
        self.lost = False


class Leases:
    """Renews the leases of all runs with one statement, for as long as there are any."""

    def __init__(self, ledger: TaskLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._leases: dict[int, Lease] = {}
        self._renewing: asyncio.Task[None] | None = None

    def hold(self, held: Held, asked_at: float) -> Lease:
        """Keep a run. `asked_at` is when Postgres was asked for it, by the monotonic clock."""
        lease = Lease(held, self._valid_until(asked_at))
        self._leases[held.id] = lease
        _HELD.set(len(self._leases))
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(), name="leases of tasks")
        return lease

    def drop(self, lease: Lease) -> None:
        """Keep a run no longer."""
        self._leases.pop(lease.held.id, None)
        _HELD.set(len(self._leases))

    def _valid_until(self, asked_at: float) -> float:
        return asked_at + self._ledger.lease_seconds * (1 - CANCELLED_BEFORE_END)

    async def _renew(self) -> None:
        pause_seconds = self._ledger.lease_seconds / RENEWALS_PER_LEASE
        while self._leases:
            await asyncio.sleep(pause_seconds)
            leases = list(self._leases.values())
            if not leases:
                return
            asked_at = self._clock.monotonic()
            try:
                kept = await self._ledger.renew([lease.held for lease in leases])
            except ZmartdError as error:
                log.warning("task.leases_not_renewed", runs=len(leases), reason=error.message)
                continue
            except Exception:
                log.exception("task.leases_not_renewed", runs=len(leases))
                continue
            for lease in leases:
                if lease.held.id in kept:
                    lease.valid_until = self._valid_until(asked_at)
                else:
                    lease.lost = True
