"""Sends signed transactions: each is recorded first, and followed until its fate is known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NoReturn, Protocol, Self

from solders.commitment_config import CommitmentLevel

from zmartd.chain.answers import ChainPosition, SignatureStatus
from zmartd.chain.codec import Codec
from zmartd.chain.failures import ProgramFailure, explain_failure, node_refused
from zmartd.chain.idl import Idl
from zmartd.chain.purchases import brings_enough
from zmartd.chain.rpc import PREFLIGHT_FAILED, Rpc
from zmartd.chain.sending import End, Sending
from zmartd.chain.signed_transactions import Fate, Landed, SignedTransaction
from zmartd.chain.terms import OWN, RELAYED, Terms
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import Clock
from zmartd.errors import OutcomeUnknown, ZmartdError
from zmartd.faults import Point, reached
from zmartd.log import get_logger
from zmartd.metrics import Counter

POLL_SECONDS = 0.5
POLLS_PER_POSITION = 4
"""The finalized block height is read once in so many polls at most, however many transactions may expire."""
POLLS_PER_RECHECK = 4
"""Whether the outbox has a transaction that is to be rechecked is asked once in so many polls."""
POLLS_PER_ADOPTION = 120
"""After so many polls, a minute, most transactions have ended that are followed by anybody."""
JITTER = 0.25
"""The pause before a rebroadcast varies by up to this part of it, so that rebroadcasts spread."""

log = get_logger(__name__)

_SETTLED = Counter("zmartd_transactions_settled", "Sent transactions by how they ended.", ["fate"])


class SenderUnavailable(ZmartdError):
    """The daemon is stopping or has too much to send. Send the same bytes again: they run at most once."""

    code = "sender_unavailable"


class Outbox(Protocol):
    """Where signed transactions are kept from before they are sent until their fate is known."""

    async def record(self, transaction: SignedTransaction) -> None:
        """Store it durably before returning. Recording the same signature again changes nothing."""

    async def record_fate(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        """Record how a transaction ended. Recording it again changes nothing."""

    async def pending(self, older_than_seconds: float = 0.0) -> Sequence[SignedTransaction]:
        """The transactions without a recorded fate that were recorded so long ago, oldest first."""


class Sender:
    """Sends transactions, and follows all of them to their end in one polling loop.

    `async with Sender(...) as sender:` runs the loop. Leaving the block stops it; transactions that are
    still pending stay in the outbox for the next `resume`.
    """

    def __init__(
        self,
        rpc: Rpc,
        outbox: Outbox,
        clock: Clock,
        idl: Idl,
        *,
        poll_seconds: float = POLL_SECONDS,
        own: Terms = OWN,
        relayed: Terms = RELAYED,
        rng: random.Random | None = None,
    ) -> None:
        """`own` and `relayed` are the limits of the two kinds; `rng` varies the pauses of rebroadcasts."""
        self._rpc = rpc
        self._outbox = outbox
        self._clock = clock
        self._idl = idl
        self._codec = Codec(idl)
        self._poll_seconds = poll_seconds
        self._own = own
        self._relayed = relayed
        self._rng = rng or random.Random()  # noqa: S311 - it spreads rebroadcasts and keeps no secret
        self._pending: dict[str, Sending] = {}
        self._followed: dict[str, Sending] = {}
        self._unconfirmed: dict[str, SignedTransaction] = {}
        """Those which the outbox may have as pending or not."""
        self._finalized: tuple[float, ChainPosition] | None = None
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
        for sending in self._pending.values():
            for future in (sending.recorded, sending.ended):
                if not future.done():
                    future.set_result(SenderUnavailable())
        self._pending.clear()
        self._followed.clear()

    @property
    def pending(self) -> int:
        """How many transactions are pending."""
        return len(self._pending)

    async def send(self, transaction: SignedTransaction) -> Landed:
        """`begin`, and wait until it is confirmed. Raises what `begin` and `Sending.landed` raise."""
        return await (await self.begin(transaction)).landed()

    async def begin(self, transaction: SignedTransaction) -> Sending:
        """Record a transaction and send it; returns once it is recorded. The same one twice is sent once.

        The node simulates one of the daemon's own transactions before it passes it on. A relayed one has to
        have passed `Rpc.preflight` already, and to bring its `min_shares`.

        Cancelling the caller stops nothing that has begun. Raises SenderUnavailable, and the outbox's error
        when the transaction cannot be recorded; then nothing was sent, but see `recheck`.
        """
        sending = self._pending.get(transaction.signature)
        if sending is None:
            sending = self._take_place(transaction)
            self._start(self._record_and_send(sending))
        await sending.until_recorded()
        return sending

    async def begin_recorded(self, transaction: SignedTransaction) -> Sending:
        """As `begin`, for a transaction that the caller has found in the outbox, or has recorded itself.

        Another process may have sent it: a node that refuses it proves nothing, so none simulates it. It ends
        in a block, or when it has expired.
        """
        sending = self._pending.get(transaction.signature)
        if sending is None:
            sending = self._take_place(transaction)
            sending.recorded.set_result(None)
            self._start(self._send_first(sending))
        elif sending.end is not None:
            # The outbox may have got it again after its end was recorded.
            self.recheck(transaction)
        await sending.until_recorded()
        return sending

    def follow(self, transaction: SignedTransaction) -> None:
        """Follow a transaction of the outbox to its end, and do not send it. Raises SenderUnavailable."""
        if transaction.signature not in self._pending:
            sending = self._take_place(transaction)
            sending.recorded.set_result(None)
            sending.send_at = None
            self._followed[transaction.signature] = sending
            self._work.set()

    def recheck(self, transaction: SignedTransaction) -> None:
        """Send a transaction after all if the outbox turns out to have it, and nobody else sends it.

        After a commit whose answer is lost, for one: the transaction would stay pending.
        """
        if not self._unconfirmed:
            self._start(self._recheck())
        self._unconfirmed[transaction.signature] = transaction

    async def adopt(self) -> NoReturn:
        """Follow what earlier processes left pending, and from then on what others leave: a daemon that is
        gone may never come back. What is followed twice is sent more often, and runs once all the same.
        """
        await self.resume()
        while True:
            await self._clock.sleep(POLLS_PER_ADOPTION * self._poll_seconds)
            await self.resume(older_than_seconds=POLLS_PER_ADOPTION * self._poll_seconds)

    async def resume(self, older_than_seconds: float = 0.0) -> int:
        """Follow the transactions that other processes have left pending, and return how many there are."""
        pending = await self._outbox.pending(older_than_seconds)
        left = [item for item in pending if item.signature not in self._pending]
        for transaction in left:
            sending = Sending(transaction, self._clock.monotonic())
            sending.recorded.set_result(None)
            self._pending[transaction.signature] = self._followed[transaction.signature] = sending
        self._work.set()
        return len(left)

    def _terms_of(self, transaction: SignedTransaction) -> Terms:
        return self._own if transaction.relayed_for is None else self._relayed

    def _is_full_for(self, transaction: SignedTransaction) -> bool:
        terms = self._terms_of(transaction)
        taken = sum(self._terms_of(other.transaction) is terms for other in self._pending.values())
        return taken >= terms.places

    def _take_place(self, transaction: SignedTransaction) -> Sending:
        """Raises SenderUnavailable."""
        if not self._running or self._is_full_for(transaction):
            raise SenderUnavailable
        sending = self._pending[transaction.signature] = Sending(transaction, self._clock.monotonic())
        return sending

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record_and_send(self, sending: Sending) -> None:
        try:
            await self._outbox.record(sending.transaction)
        except Exception as error:  # `begin` raises it, whatever it is
            del self._pending[sending.signature]
            if isinstance(error, OutcomeUnknown):
                self.recheck(sending.transaction)
            sending.recorded.set_result(error)
            sending.ended.set_result(error)
            return
        sending.recorded.set_result(None)
        await self._send_first(sending, is_new=True)

    async def _recheck(self) -> None:
        while self._unconfirmed:
            await self._clock.sleep(POLLS_PER_RECHECK * self._poll_seconds)
            try:
                recorded = {one.signature for one in await self._outbox.pending()}
            except Exception as error:
                log.warning("sender.outbox_away", reason=str(error), unconfirmed=len(self._unconfirmed))
                continue
            for signature, transaction in list(self._unconfirmed.items()):
                if signature in recorded and signature not in self._pending:
                    if self._is_full_for(transaction):
                        continue
                    sending = self._take_place(transaction)
                    sending.recorded.set_result(None)
                    self._start(self._send_first(sending))
                del self._unconfirmed[signature]

    async def _send_first(self, sending: Sending, *, is_new: bool = False) -> None:
        """Send a recorded transaction for the first time here, and follow it.

        One that `is_new` was sent by nobody yet: where the node refuses it, it has ended. A relayed one has
        just been simulated and found to bring enough.
        """
        await reached(Point.SENDER_RECORDED)
        is_simulated = not is_new or sending.transaction.relayed_for is not None
        try:
            if is_new or await self._may_be_sent(sending):
                await self._transmit(sending, self._rpc.broadcast if is_simulated else self._rpc.send)
                await reached(Point.SENDER_SENT)
        except RpcUnavailable as error:
            log.warning("sender.not_sent_yet", signature=sending.signature, reason=error.message)
        except RpcRejected as error:
            if is_new:
                sending.end = self._end_of_rejected(error)
                await self._record_fate(sending)
            else:
                log.info("sender.rebroadcast_refused", signature=sending.signature, reason=error.message)
        if not sending.ended.done():
            sending.polled_at = self._clock.monotonic()
            self._followed[sending.signature] = sending
            self._work.set()

    async def _transmit(self, sending: Sending, send: Callable[[bytes], Awaitable[str]]) -> None:
        """Send it with `send`, and set when it is sent next. An attempt without an answer is not counted."""
        try:
            await send(sending.transaction.wire)
            sending.sent += 1
        except RpcRejected:
            sending.sent += 1
            raise
        finally:
            self._set_next(sending)

    async def _may_be_sent(self, sending: Sending) -> bool:
        """False while one with `min_shares` would fail or bring fewer, as far as the node can tell."""
        enough = False
        try:
            enough = await brings_enough(self._rpc, sending.transaction, self._codec)
        except RpcUnavailable:
            self._set_next(sending)
            raise
        except RpcRejected as error:
            log.info("sender.not_simulated", signature=sending.signature, reason=error.message)
        if enough:
            return True
        sending.sent += 1
        self._set_next(sending)
        log.info("sender.withheld", signature=sending.signature, min_shares=sending.transaction.min_shares)
        return False

    def _set_next(self, sending: Sending) -> None:
        pause = self._terms_of(sending.transaction).rebroadcasts.pause_seconds(max(1, sending.sent))
        spread = self._rng.uniform(1 - JITTER, 1 + JITTER)
        sending.send_at = None if pause is None else self._clock.monotonic() + pause * spread

    def _end_of_rejected(self, error: RpcRejected) -> End | None:
        """None where the rejection does not decide the transaction's fate."""
        if error.rpc_code != PREFLIGHT_FAILED:
            return End(Fate.FAILED, failure=node_refused(error.rpc_message))
        match error.data:
            case {"err": err, "logs": [*logs]}:
                failure = explain_failure(err, logs, self._idl)
            case {"err": err}:
                failure = explain_failure(err, None, self._idl)
            case _:
                return None
        undecided = failure.name in ("AlreadyProcessed", "BlockhashNotFound")
        return None if undecided else End(Fate.FAILED, failure=failure)

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
        """Poll what is due: record what ended, send again what no block holds, and find what has expired."""
        now = self._clock.monotonic()
        due = {
            signature: sending
            for signature, sending in self._followed.items()
            if sending.is_to_be_polled(now, self._poll_seconds)
        }
        if due:
            recent = await self._rpc.signature_statuses(list(due))
            for sending in due.values():
                sending.polled_at = now
            await self._resend_or_expire(await self._end_the_confirmed(due, recent.by_signature), now)
        for sending in [sending for sending in self._followed.values() if sending.end is not None]:
            await self._record_fate(sending)

    async def _end_the_confirmed(
        self, candidates: dict[str, Sending], statuses: dict[str, SignatureStatus | None]
    ) -> dict[str, Sending]:
        """Set the end of those that are confirmed; returns those that no block holds."""
        unseen = {}
        for signature, sending in candidates.items():
            status = statuses[signature]
            if status is None:
                unseen[signature] = sending
            elif status.is_confirmed:
                failure = None if status.err is None else await self._explained(signature, status.err)
                fate = Fate.LANDED if failure is None else Fate.FAILED
                sending.end = End(fate, status.slot, failure)
        return unseen

    async def _explained(self, signature: str, err: object) -> ProgramFailure:
        """Explain a failure with the logs, which show whose error it is; without them by its number alone."""
        try:
            raw = await self._rpc.transaction(signature)
        except (RpcRejected, RpcUnavailable) as error:
            log.info("sender.logs_missing", signature=signature, reason=error.message)
            raw = None
        match raw:
            case {"meta": {"logMessages": [*logs]}}:
                return explain_failure(err, logs, self._idl)
        return explain_failure(err, None, self._idl)

    async def _resend_or_expire(self, unseen: dict[str, Sending], now: float) -> None:
        """Send those again that are due, and end those that have expired."""
        due = [one for one in unseen.values() if not one.is_sendable or one.is_to_be_sent(now)]
        if not due:
            return
        finalized = await self._finalized_position(now)
        late: dict[str, Sending] = {}
        for sending in due:
            if sending.transaction.last_valid_block_height < finalized.block_height:
                late[sending.signature] = sending
                sending.send_at = None
        await asyncio.gather(*(self._send_again(sending) for sending in due if sending.is_sendable))
        if late:
            await self._end_the_expired(late, finalized)

    async def _finalized_position(self, now: float) -> ChainPosition:
        """At most POLLS_PER_POSITION polls old. An older height only delays the proof of an expiry."""
        if self._finalized is None or now - self._finalized[0] >= POLLS_PER_POSITION * self._poll_seconds:
            self._finalized = now, await self._rpc.position(CommitmentLevel.Finalized)
        return self._finalized[1]

    async def _send_again(self, sending: Sending) -> None:
        """A rejection does not end it here: only its expiry is a proof that it will not land."""
        try:
            if await self._may_be_sent(sending):
                await self._transmit(sending, self._rpc.broadcast)
        except (RpcRejected, RpcUnavailable) as error:
            log.info("sender.rebroadcast_refused", signature=sending.signature, reason=error.message)

    async def _end_the_expired(self, late: dict[str, Sending], finalized: ChainPosition) -> None:
        """The proof: a finalized block above the last valid height, and no block up to it that holds it."""
        known = await self._rpc.signature_statuses(list(late), search_history=True)
        if known.slot < finalized.slot:
            return  # another node of the endpoint has answered, which is behind and proves nothing
        for sending in (await self._end_the_confirmed(late, known.by_signature)).values():
            sending.end = End(Fate.EXPIRED)

    async def _record_fate(self, sending: Sending) -> None:
        """Store its end, then wake those that wait for it. If storing fails, the next round tries again."""
        end = sending.end
        if end is None:
            return
        await reached(Point.SENDER_ENDED)
        error = None if end.failure is None else end.failure.name
        try:
            await self._outbox.record_fate(sending.signature, end.fate, end.slot, error)
        except Exception:
            log.exception("sender.not_settled", signature=sending.signature, fate=end.fate.value)
            return
        await reached(Point.SENDER_SETTLED)
        _SETTLED.labels(end.fate.value).inc()
        log.info(
            "sender.settled",
            signature=sending.signature,
            purpose=sending.transaction.purpose,
            fate=end.fate.value,
            slot=end.slot,
            error=error,
            **({} if sending.request_id is None else {"request_id": sending.request_id}),
        )
        self._pending.pop(sending.signature, None)
        self._followed.pop(sending.signature, None)
        sending.ended.set_result(end)
