"""How far the chain is, as the node tells it, and which transactions cannot be believed because of it.

Rows move forward by slot and time, so a transaction from the future would win against everything that comes
after it. A webhook can be made to deliver one, and a node can give one by mistake. Both ends of the index
(`inbox` and `fetch`) ask here before they pass a transaction on to the door.

What the node told last counts, not the most that it ever told: one wrong answer is gone with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from zmartd.chain.answers import ChainTime
from zmartd.chain.events import event_seconds
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import Clock
from zmartd.metrics import Counter

MARGIN_SLOTS = 150
"""One minute: so far may the webhook's node, or one behind the same balancer, be ahead of ours."""
MARGIN_SECONDS = 60
"""The same by the chain's clock."""
PAST_SLOTS = 9_000
"""One hour. What a webhook brings later is asked for: once the node has forgotten a slot, nobody can show
that something never happened in it."""
PAST_SECONDS = 7_200
"""The same by the chain's clock, for slots that take twice as long as they should."""
IMPOSSIBLE_SLOTS = 9_000
"""One hour: a row so far above the node's newest slot is wrong, and not the node behind."""

_FASTEST_SLOT_SECONDS = 0.2
"""Slots are 0.4 seconds by design. While the node is away, the true ones must not overtake this estimate."""
_FRESH_SECONDS = 30.0
"""After these an answer is old: the estimate is too high by 75 slots by then."""
_PATIENCE_SECONDS = 1.0
"""Deliveries wait for the node's answer for at most this long."""
_PAUSE_SECONDS = 2.0
"""Between two questions that deliveries cause, however many of them are forged."""
_LONG_PAUSE_SECONDS = 10.0
"""The same after the node did not answer."""

_QUESTIONS = Counter("zmartd_present_questions_total", "Times that the node was asked how far the chain is")


class Plausibility:
    """The newest slot and time of the chain. Until the first answer everything is the future."""

    def __init__(self, ask: Callable[[], Awaitable[ChainTime]], clock: Clock) -> None:
        """`ask` is one question to the node; it raises RpcUnavailable or RpcRejected."""
        self._ask = ask
        self._clock = clock
        self._told = ChainTime(0, 0)
        self._told_at = clock.monotonic()
        self._answers = 0
        self._silent_until = self._told_at
        self._turn = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask the node; callers that come meanwhile share its answer. Raises RpcUnavailable, RpcRejected."""
        answers = self._answers
        async with self._turn:
            if self._answers != answers:
                return
            _QUESTIONS.inc()
            self._told = await self._ask()
            self._told_at = self._clock.monotonic()
            self._answers += 1

    async def refresh_if_needed(self, transactions: Iterable[ChainTransaction]) -> None:
        """Ask the node before deliveries are judged: where one is in doubt, or the last answer is old.

        It asks seldom, waits briefly and raises nothing: without an answer the estimate has to do.
        """
        now = self._clock.monotonic()
        if now < self._silent_until:
            return
        fresh = self._answers and now - self._told_at < _FRESH_SECONDS
        if fresh and not any(self.doubt(tx) for tx in transactions):
            return
        self._silent_until = now + _LONG_PAUSE_SECONDS
        with suppress(TimeoutError, RpcUnavailable, RpcRejected):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.refresh()
            self._silent_until = now + _PAUSE_SECONDS

    def is_future(self, slot: int, seconds: int | None = None) -> bool:
        """Whether this slot, or this chain time in unix seconds, cannot be yet."""
        elapsed = self._clock.monotonic() - self._told_at
        if slot > self._told.slot + MARGIN_SLOTS + elapsed / _FASTEST_SLOT_SECONDS:
            return True
        return seconds is not None and seconds > self._told.unix_timestamp + MARGIN_SECONDS + elapsed

    async def is_certainly_future(self, slot: int, seconds: int | None = None) -> bool:
        """The same, asked again before it is said. Raises RpcUnavailable, RpcRejected."""
        if not self.is_future(slot, seconds):
            return False
        await self.refresh()
        return self.is_future(slot, seconds)

    def doubt(self, transaction: ChainTransaction) -> str | None:
        """Why a delivered transaction has to be asked for before it counts; None where it counts.

        One that changes nothing is never in doubt.
        """
        if not _says_anything(transaction):
            return None
        slot, times = transaction.slot, _times(transaction)
        if any(self.is_future(slot, seconds) for seconds in (None, *times)):
            return f"slot {slot} is after the present slot {self._told.slot}, or its time in the future"
        oldest = self._told.unix_timestamp - PAST_SECONDS
        if slot < self._told.slot - PAST_SLOTS or any(seconds < oldest for seconds in times):
            return f"slot {slot} is long before the present slot {self._told.slot}, or its time is"
        return None


def _says_anything(transaction: ChainTransaction) -> bool:
    told = transaction.events or transaction.quarantined or transaction.logs_truncated
    return transaction.succeeded and bool(told)


def _times(transaction: ChainTransaction) -> Sequence[int]:
    """The chain times in it: the block's and its events'."""
    told = (transaction.block_time, *(event_seconds(record.event) for record in transaction.events))
    return [seconds for seconds in told if seconds is not None]
