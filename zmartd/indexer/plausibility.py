"""Whether a transaction's slot and times are plausible, given how far the chain is.

Rows move forward by slot and time, so a transaction from the future would win over everything that comes
after it. A webhook can be made to deliver one, and a node can return one by mistake. Both ways into the index
(`inbox` and `fetch`) check transactions here before they apply them.

The node's last answer counts, not the highest one: the next answer replaces a wrong one.
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
"""One minute: how far the webhook's node, or another behind the same balancer, may be ahead of ours."""
MARGIN_SECONDS = 60
"""The same by the chain's clock."""
PAST_SLOTS = 9_000
"""One hour. Older deliveries are verified first: once the node has pruned a slot, it cannot be shown that
something never happened in it."""
PAST_SECONDS = 7_200
"""The same by the chain's clock, even if slots take twice as long as they should."""
IMPOSSIBLE_SLOTS = 9_000
"""One hour: if a row is so far above the node's newest slot, the row is wrong; the node is not behind."""

_FASTEST_SLOT_SECONDS = 0.2
"""Slots take 0.4 seconds by design. The estimate must stay ahead of the chain while no node answers."""
_FRESH_SECONDS = 30.0
"""After this time an answer is stale: by then the estimate is 75 slots too high."""
JUMPS_SECONDS = 0.5
"""The same, and the least time between two requests, where the chain's clock can be moved."""
_PATIENCE_SECONDS = 1.0
"""How long deliveries wait for the node's answer at most."""
_PAUSE_SECONDS = 2.0
"""Between two requests that deliveries cause, however many of them are forged."""
_LONG_PAUSE_SECONDS = 10.0
"""The same after a request that was not answered, when the node has answered before: all deliveries wait for
the first answer."""

_REQUESTS = Counter("zmartd_present_questions_total", "Times that a node was asked for its newest slot.")


class Plausibility:
    """Checks slots and times against the chain's newest. Before the first answer, all are in the future."""

    def __init__(self, ask: Callable[[], Awaitable[ChainTime]], clock: Clock, *, jumps: bool = False) -> None:
        """`ask` requests the newest slot and its time; it raises RpcUnavailable or RpcRejected. `jumps`:
        whether the chain's clock can be moved, as that of a development chain can.
        """
        self._ask = ask
        self._clock = clock
        self._fresh_seconds = JUMPS_SECONDS if jumps else _FRESH_SECONDS
        self._pause_seconds = JUMPS_SECONDS if jumps else _PAUSE_SECONDS
        self._newest = ChainTime(0, 0)
        self._answered_at = clock.monotonic()
        self._answers = 0
        self._next_request_at = self._answered_at
        self._turn = asyncio.Lock()

    @property
    def is_known(self) -> bool:
        """Whether the node has ever answered: until then all that is delivered is in doubt."""
        return self._answers > 0

    @property
    def newest(self) -> ChainTime:
        """The node's last answer."""
        return self._newest

    async def refresh(self) -> None:
        """Ask the node. Concurrent callers share one answer. Raises RpcUnavailable, RpcRejected."""
        answers = self._answers
        async with self._turn:
            if self._answers != answers:
                return
            _REQUESTS.inc()
            self._newest = await self._ask()
            self._answered_at = self._clock.monotonic()
            self._answers += 1

    async def refresh_if_needed(self, transactions: Iterable[ChainTransaction]) -> None:
        """`refresh_in_time`, if that is due because of these transactions. Raises nothing."""
        if self.is_to_be_refreshed(transactions):
            await self.refresh_in_time()

    def is_to_be_refreshed(self, transactions: Iterable[ChainTransaction]) -> bool:
        """Whether the last answer is stale, or one of these transactions is in doubt, and the node may be
        asked again already.
        """
        now = self._clock.monotonic()
        if now < self._next_request_at:
            return False
        fresh = self._answers and now - self._answered_at < self._fresh_seconds
        return not fresh or any(self.doubt(tx) for tx in transactions)

    async def refresh_in_time(self) -> None:
        """Ask the node, and wait a second at most. Raises nothing: an estimate is used then.

        For some seconds afterwards nothing is to be refreshed, however many deliveries are in doubt.
        """
        now = self._clock.monotonic()
        self._next_request_at = now + (_LONG_PAUSE_SECONDS if self._answers else _PAUSE_SECONDS)
        with suppress(TimeoutError, RpcUnavailable, RpcRejected):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.refresh()
            self._next_request_at = now + self._pause_seconds

    async def newest_slot(self) -> int | None:
        """The newest slot by the node's last answer; None before the first one. If that is stale, the node is
        asked again as deliveries do.
        """
        await self.refresh_if_needed(())
        return self._newest.slot if self._answers else None

    async def present(self) -> int:
        """The chain's time now in unix seconds: that of the node's last answer, and what has passed since.
        Until a node has answered, the time of this machine. The node is asked as in `newest_slot`.
        """
        await self.refresh_if_needed(())
        if not self._answers:
            return int(self._clock.time())
        return self._newest.unix_timestamp + int(self._clock.monotonic() - self._answered_at)

    def is_future(self, slot: int, seconds: int | None = None) -> bool:
        """Whether a slot, or a chain time in unix seconds, is ahead of the chain by more than the margin."""
        elapsed = self._clock.monotonic() - self._answered_at
        if slot > self._newest.slot + MARGIN_SLOTS + elapsed / _FASTEST_SLOT_SECONDS:
            return True
        return seconds is not None and seconds > self._newest.unix_timestamp + MARGIN_SECONDS + elapsed

    def is_past(self, slot: int) -> bool:
        """Whether a slot is long before the chain's newest."""
        return slot < self._newest.slot - PAST_SLOTS

    async def is_certainly_future(self, slot: int, seconds: int | None = None) -> bool:
        """The same after asking the node again. Raises RpcUnavailable, RpcRejected."""
        if not self.is_future(slot, seconds):
            return False
        await self.refresh()
        return self.is_future(slot, seconds)

    def doubt(self, transaction: ChainTransaction) -> str | None:
        """Why a delivered transaction is implausible and has to be verified first; None if it is plausible.

        A transaction without effects is never in doubt.
        """
        if not _has_effects(transaction):
            return None
        slot, times = transaction.slot, _times(transaction)
        if any(self.is_future(slot, seconds) for seconds in (None, *times)):
            return f"slot {slot} is after the present slot {self._newest.slot}, or its time in the future"
        oldest = self._newest.unix_timestamp - PAST_SECONDS
        if self.is_past(slot) or any(seconds < oldest for seconds in times):
            return f"slot {slot} is long before the present slot {self._newest.slot}, or its time is"
        return None


def _has_effects(transaction: ChainTransaction) -> bool:
    effects = transaction.events or transaction.quarantined or transaction.logs_truncated
    return transaction.succeeded and bool(effects)


def _times(transaction: ChainTransaction) -> Sequence[int]:
    """The times of a transaction: its block's and its events'."""
    times = (transaction.block_time, *(event_seconds(record.event) for record in transaction.events))
    return [seconds for seconds in times if seconds is not None]
