"""Sends the messages of the outbox: to each receiver in turn, and to none because of another.

A message is claimed for a while before it is sent. Where the daemon dies meanwhile another one sends it, with
the same webhook-id: a receiver gets it at least once, and knows a second time by that.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from zmartd.alerts.receivers import LOG, NotDelivered, Receivers
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.store import alert_deliveries
from zmartd.store.alert_deliveries import Delivery
from zmartd.store.postgres.database import Database

BATCH: Final = 5
"""Messages that are claimed for one receiver at once."""
SPARE_SECONDS: Final = 30.0
"""How much longer than its messages may take a daemon keeps them."""
PAUSES_SECONDS: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0)
"""Before the next attempt, by the number of attempts so far. The last one repeats."""

log = get_logger(__name__)


class Deliveries:
    """Delivers what waits in the outbox. `look` starts it; nothing of it raises."""

    def __init__(
        self, database: Database, receivers: Receivers, attempt_seconds: float, rng: random.Random
    ) -> None:
        self._database = database
        self._receivers = receivers
        self._lease_seconds = BATCH * attempt_seconds + SPARE_SECONDS
        self._rng = rng
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def receivers(self) -> Sequence[str]:
        """Those to whom it delivers."""
        return self._receivers.names

    def look(self) -> None:
        """Begin to deliver to those receivers to whom it is not delivering already."""
        for name in self._receivers.names:
            running = self._running.get(name)
            if running is None or running.done():
                self._running[name] = asyncio.create_task(self._deliver(name), name=f"alerts to {name}")

    async def drain(self) -> None:
        """Wait until what was begun has ended."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def stop(self) -> None:
        """End what was begun; another daemon goes on with it when the lease has ended."""
        for task in self._running.values():
            task.cancel()
        await self.drain()

    async def _deliver(self, receiver: str) -> None:
        try:
            while True:
                async with self._database.service_reader() as reader:
                    claimed = await alert_deliveries.claim(reader, receiver, BATCH, self._lease_seconds)
                if not claimed:
                    return
                for delivery in claimed:
                    await self._send(delivery)
        except ZmartdError as error:
            log.warning("alerts.outbox_unreachable", receiver=receiver, reason=error.message)
        except Exception:
            log.exception("alerts.delivery_broken", receiver=receiver)

    async def _send(self, delivery: Delivery) -> None:
        try:
            await self._receivers.tell(delivery.receiver, delivery.id, delivery.body)
        except NotDelivered as error:
            await self._failed(delivery, error)
        except Exception as error:
            # As of a body that another version wrote. What it says may quote the URL.
            await self._failed(delivery, NotDelivered(f"it cannot be sent: {type(error).__name__}"))
        else:
            async with self._database.service_reader() as reader:
                await alert_deliveries.succeed(reader, delivery, tells=delivery.receiver != LOG)

    async def _failed(self, delivery: Delivery, error: NotDelivered) -> None:
        pause_seconds = max(self._pause_seconds(delivery.attempts), error.retry_after_seconds)
        log.warning(
            "alerts.not_delivered",
            receiver=delivery.receiver,
            webhook_id=delivery.id,
            attempt=delivery.attempts,
            reason=error.message,
            again_seconds=round(pause_seconds),
        )
        async with self._database.service_reader() as reader:
            await alert_deliveries.fail(reader, delivery, pause_seconds, error.message)

    def _pause_seconds(self, attempts: int) -> float:
        longest = PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS)) - 1]
        return longest * self._rng.uniform(0.8, 1.0)
