"""Signed transactions on their way to the chain: recorded, sent, and followed until their fate is known."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from enum import StrEnum
from typing import Any, Protocol, Self

from msgspec import Struct
from prometheus_client import Counter
from solders.commitment_config import CommitmentLevel

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.failures import ProgramFailure, explain_failure
from zmartd.chain.idl import Idl
from zmartd.chain.rpc import PREFLIGHT_FAILED, Rpc
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.log import get_logger

MAX_PENDING = 10_000
POLL_SECONDS = 0.5
REBROADCAST_SECONDS = 2.0

log = get_logger(__name__)

_SETTLED = Counter("zmartd_transactions_settled", "Sent transactions by how they ended.", ["fate"])


class SignedTransaction(Struct, frozen=True):
    """A transaction whose bytes no longer change; sending them again can never execute it twice.

    `wire` is the serialized transaction, `purpose` a short text for people and logs, and from a block higher
    than `last_valid_block_height` on no validator takes it any more.
    """

    signature: str
    wire: bytes
    last_valid_block_height: int
    purpose: str


class Fate(StrEnum):
    """How a transaction ended. All three are final."""

    LANDED = "landed"
    FAILED = "failed"
    EXPIRED = "expired"


class Landed(Struct, frozen=True):
    """The transaction was executed successfully in this slot."""

    signature: str
    slot: int


class TransactionFailed(ZmartdError):
    """The chain refused the transaction."""

    code = "transaction_failed"

    def __init__(self, signature: str, failure: ProgramFailure, slot: int | None = None) -> None:
        """`slot` is None when no validator executed it: a simulation already failed."""
        super().__init__(failure.message, signature=signature, error=failure.name, error_code=failure.code)
        self.signature = signature
        self.failure = failure
        self.slot = slot


class TransactionExpired(ZmartdError):
    """The transaction did not land in time and never will. Build, sign and send a new one."""

    code = "transaction_expired"

    def __init__(self, signature: str) -> None:
        super().__init__(signature=signature)
        self.signature = signature


class SenderUnavailable(ZmartdError):
    """The daemon is stopping or has too much to send. Send the same bytes again: they run at most once."""

    code = "sender_unavailable"


class Outbox(Protocol):
    """Where signed transactions are kept from before they are sent until their fate is known."""

    async def record(self, transaction: SignedTransaction) -> None:
        """Keep it durably before this returns. Recording the same signature again changes nothing."""

    async def settle(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        """Its fate is known; settling again changes nothing. `slot` and `error` where there are any."""

    async def unsettled(self) -> Sequence[SignedTransaction]:
        """Recorded and not settled, oldest first."""


class _End(Struct, frozen=True):
    fate: Fate
    slot: int | None = None
    failure: ProgramFailure | None = None

    def landed(self, signature: str) -> Landed:
        """Raises TransactionFailed or TransactionExpired when it did not."""
        if self.failure is not None:
            raise TransactionFailed(signature, self.failure, self.slot)
        if self.slot is None:
            raise TransactionExpired(signature)
        return Landed(signature, self.slot)


class _Pending:
    """A transaction under way. `end` is set once it is known, `ended` is done once that is settled."""

    def __init__(self, transaction: SignedTransaction) -> None:
        self.transaction = transaction
        self.ended: asyncio.Future[_End | Exception] = asyncio.get_running_loop().create_future()
        self.end: _End | None = None
        self.sent_at: float | None = None
        """When it was last handed to a node, by the monotonic clock. None: not yet by this process."""

    @property
    def signature(self) -> str:
        return self.transaction.signature


class Sender:
    """Sends transactions and follows them to their end, all of them in one loop.

    `async with Sender(...) as sender:` runs the loop. Leaving the block stops following; what is unsettled
    stays in the outbox for the next `resume`.
    """

    def __init__(
        self,
        rpc: Rpc,
        outbox: Outbox,
        clock: Clock,
        idl: Idl,
        *,
        poll_seconds: float = POLL_SECONDS,
        rebroadcast_seconds: float = REBROADCAST_SECONDS,
    ) -> None:
        self._rpc = rpc
        self._outbox = outbox
        self._clock = clock
        self._idl = idl
        self._poll_seconds = poll_seconds
        self._rebroadcast_seconds = rebroadcast_seconds
        self._pending: dict[str, _Pending] = {}
        self._followed: dict[str, _Pending] = {}
        self._work = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    async def __aenter__(self) -> Self:
        self._running = True
        self._start(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pending in self._pending.values():
            if not pending.ended.done():
                pending.ended.set_result(SenderUnavailable(signature=pending.signature))
        self._pending.clear()
        self._followed.clear()

    @property
    def pending(self) -> int:
        """How many transactions are under way."""
        return len(self._pending)

    async def send(self, transaction: SignedTransaction) -> Landed:
        """Record and send a transaction, and wait until it is confirmed; the same one twice is sent once.

        Cancelling the caller does not stop what has begun. Raises TransactionFailed, TransactionExpired,
        SenderUnavailable, and what the outbox raises when the transaction cannot be recorded (then nothing
        was sent).
        """
        pending = self._pending.get(transaction.signature)
        if pending is None:
            if not self._running or len(self._pending) >= MAX_PENDING:
                raise SenderUnavailable(signature=transaction.signature)
            pending = self._pending[transaction.signature] = _Pending(transaction)
            self._start(self._launch(pending))
        end = await asyncio.shield(pending.ended)
        if isinstance(end, Exception):
            raise end
        return end.landed(transaction.signature)

    async def resume(self) -> int:
        """Follow what an earlier process left unsettled; gives how many transactions that are."""
        unsettled = await self._outbox.unsettled()
        left = [item for item in unsettled if item.signature not in self._pending]
        for transaction in left:
            self._pending[transaction.signature] = pending = _Pending(transaction)
            self._followed[transaction.signature] = pending
        self._work.set()
        return len(left)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, pending: _Pending) -> None:
        try:
            await self._outbox.record(pending.transaction)
        except Exception as error:  # whatever the outbox raises is the callers' to know
            del self._pending[pending.signature]
            pending.ended.set_result(error)
            return
        await reached(Point.SENDER_RECORDED)
        pending.sent_at = self._clock.monotonic()
        try:
            await self._rpc.send(pending.transaction.wire)
            await reached(Point.SENDER_SENT)
        except RpcUnavailable as error:
            log.warning("sender.not_sent_yet", signature=pending.signature, reason=error.message)
        except RpcRejected as error:
            pending.end = self._refused(error)
            await self._settle(pending)
        if not pending.ended.done():
            self._followed[pending.signature] = pending
            self._work.set()

    def _refused(self, error: RpcRejected) -> _End | None:
        """None where a simulation says nothing about this transaction's fate, only about the moment."""
        if error.rpc_code != PREFLIGHT_FAILED:
            return _End(Fate.FAILED, failure=ProgramFailure(None, "NodeRefused", error.rpc_message, None))
        match error.data:
            case {"err": err, "logs": [*logs]}:
                failure = explain_failure(err, logs, self._idl)
            case {"err": err}:
                failure = explain_failure(err, None, self._idl)
            case _:
                return None
        undecided = failure.name in ("AlreadyProcessed", "BlockhashNotFound")
        return None if undecided else _End(Fate.FAILED, failure=failure)

    async def _follow(self) -> None:
        while True:
            await self._work.wait()
            try:
                await self._round()
            except RpcUnavailable as error:
                log.warning("sender.blind", reason=error.message, pending=self.pending)
            except Exception:
                log.exception("sender.round_failed", pending=self.pending)
            if self._followed:
                await self._clock.sleep(self._poll_seconds)
            else:
                self._work.clear()

    async def _round(self) -> None:
        """Look at every transaction once: settle the ended, send the unseen again, prove the expired."""
        open_ones = {key: pending for key, pending in self._followed.items() if pending.end is None}
        recent = await self._rpc.signature_statuses(list(open_ones))
        unseen = await self._end_the_confirmed(open_ones, recent.by_signature)
        await self._end_the_expired(await self._rebroadcast(unseen))
        for pending in list(self._followed.values()):
            await self._settle(pending)

    async def _end_the_confirmed(
        self, candidates: dict[str, _Pending], statuses: dict[str, SignatureStatus | None]
    ) -> dict[str, _Pending]:
        """Gives those that no block holds."""
        unseen = {}
        for signature, pending in candidates.items():
            status = statuses[signature]
            if status is None:
                unseen[signature] = pending
            elif status.is_confirmed:
                failure = None if status.err is None else await self._explained(signature, status.err)
                fate = Fate.LANDED if failure is None else Fate.FAILED
                pending.end = _End(fate, status.slot, failure)
        return unseen

    async def _explained(self, signature: str, err: object) -> ProgramFailure:
        """The logs tell whose error it was; without them the number alone is explained."""
        try:
            raw = await self._rpc.transaction(signature)
        except (RpcRejected, RpcUnavailable) as error:
            log.info("sender.logs_missing", signature=signature, reason=error.message)
            raw = None
        match raw:
            case {"meta": {"logMessages": [*logs]}}:
                return explain_failure(err, logs, self._idl)
        return explain_failure(err, None, self._idl)

    async def _rebroadcast(self, unseen: dict[str, _Pending]) -> dict[str, _Pending]:
        """Gives those that were due."""
        now = self._clock.monotonic()
        due = {
            signature: pending
            for signature, pending in unseen.items()
            if pending.sent_at is None or now - pending.sent_at >= self._rebroadcast_seconds
        }
        await asyncio.gather(*(self._send_again(pending, now) for pending in due.values()))
        return due

    async def _send_again(self, pending: _Pending, now: float) -> None:
        """A node that takes no transactions can still prove that this one expired: its refusal is no end."""
        pending.sent_at = now
        try:
            await self._rpc.rebroadcast(pending.transaction.wire)
        except (RpcRejected, RpcUnavailable) as error:
            log.info("sender.rebroadcast_refused", signature=pending.signature, reason=error.message)

    async def _end_the_expired(self, unseen: dict[str, _Pending]) -> None:
        """A finalized block above the last valid height, and no block up to it with the transaction."""
        if not unseen:
            return
        finalized = await self._rpc.position(CommitmentLevel.Finalized)
        late = {
            signature: pending
            for signature, pending in unseen.items()
            if pending.transaction.last_valid_block_height < finalized.block_height
        }
        if not late:
            return
        known = await self._rpc.signature_statuses(list(late), search_history=True)
        if known.slot < finalized.slot:
            return  # another node of the endpoint answered, and it is behind: it proves nothing
        for pending in (await self._end_the_confirmed(late, known.by_signature)).values():
            pending.end = _End(Fate.EXPIRED)

    async def _settle(self, pending: _Pending) -> None:
        """Keep its end durably, then tell who waits. What cannot be kept is tried again in the next round."""
        end = pending.end
        if end is None:
            return
        await reached(Point.SENDER_ENDED)
        error = None if end.failure is None else end.failure.name
        try:
            await self._outbox.settle(pending.signature, end.fate, end.slot, error)
        except Exception:
            log.exception("sender.not_settled", signature=pending.signature, fate=end.fate.value)
            return
        await reached(Point.SENDER_SETTLED)
        _SETTLED.labels(end.fate.value).inc()
        log.info(
            "sender.settled",
            signature=pending.signature,
            purpose=pending.transaction.purpose,
            fate=end.fate.value,
            slot=end.slot,
            error=error,
        )
        self._pending.pop(pending.signature, None)
        self._followed.pop(pending.signature, None)
        pending.ended.set_result(end)
