"""Relaying what wallets signed: simulated, submitted, and answered for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import UNSET
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.codec import Codec
from zmartd.chain.failures import (
    ProgramFailure,
    ProgramRefused,
    explain_failure,
    failure_named,
    node_refused,
)
from zmartd.chain.idl import Idl
from zmartd.chain.purchases import shares_bought
from zmartd.chain.rpc import Rpc
from zmartd.chain.signed_transactions import Fate, SignedTransaction, TransactionExpired, TransactionFailed
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected
from zmartd.clock import Clock
from zmartd.faults import Point, reached
from zmartd.indexer.fetch import Fetcher, TransactionDetails, TransactionNotFound, TransactionUnread
from zmartd.store.outbox import OutboxEntry
from zmartd.transactions.admission import AdmittedTransaction, TransactionRefused
from zmartd.transactions.funds import Funds
from zmartd.transactions.lookup_limit import LookupLimit
from zmartd.transactions.outbox import DatabaseOutbox
from zmartd.transactions.price_protection import PriceMoved, PriceMovedDetails
from zmartd.transactions.spending import check_spending
from zmartd.transactions.submission import Submission, Submitter

_SPARE_BLOCKS = 32
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 3.2
_PURPOSE = "relay"


class TransactionRetracted(TransactionNotFound):
    """This transaction is not on the chain: a fork took its block, or what was indexed of it never was in
    one. It may land again while its blockhash is valid: send the same bytes again, and a new one if that
    expires.
    """

    code = "transaction_retracted"


class Relay:
    """Submits wallets' transactions and reports their outcome. The same bytes never run twice, and once their
    outcome is known they always get it, unless a fork takes their block."""

    def __init__(
        self,
        *,
        outbox: DatabaseOutbox,
        submitter: Submitter,
        fetcher: Fetcher,
        rpc: Rpc,
        idl: Idl,
        clock: Clock,
        funds: Funds,
        lookups: LookupLimit,
        patience_seconds: float,
        max_fee_lamports: int,
    ) -> None:
        """`patience_seconds`: how long a caller waits for the confirmation before it has to ask again."""
        self._outbox = outbox
        self._submitter = submitter
        self._fetcher = fetcher
        self._rpc = rpc
        self._idl = idl
        self._codec = Codec(idl)
        self._clock = clock
        self._funds = funds
        self._lookups = lookups
        self._patience_seconds = patience_seconds
        self._max_fee_lamports = max_fee_lamports

    async def submit(
        self, transaction: AdmittedTransaction, min_shares: int | None = None
    ) -> ChainTransaction | None:
        """Submit a transaction and return what it did once it is indexed; None while that takes longer.

        It is simulated on the newest state first, unless it is recorded already. One that would fail there,
        take more than it may, or buy fewer than `min_shares` share units, is not recorded. A recorded one is
        sent at once, and followed to its end, whatever happens to this request or this daemon. One with
        `min_shares` is simulated each time before it is sent again, and left for later while it would fail or
        buy fewer. Nothing here holds the price between a simulation and the block.

        Raises PriceMoved when it would break a limit of its trade, ProgramRefused when it failed or would
        fail, InsufficientFunds where that is why, TransactionRefused when it would take more from the wallet
        than it may, TransactionExpired when it can never land, TooManyPending, LookupsExhausted,
        SenderUnavailable, RpcUnavailable, DatabaseUnavailable.
        """
        sent = await self._outbox.find(transaction.signature)
        if sent is None:
            refused = await self._preflight(transaction, min_shares)
            if refused is not None:
                return await self._not_submitted(transaction, refused)
            await reached(Point.RELAY_TRIED)
            submission = await self._submitter.submit(await self._signed(transaction, min_shares))
        elif sent.fate is None:
            submission = await self._submitter.submit_recorded(sent.transaction)
        elif await self._has_left_the_chain(sent):
            await self._outbox.reopen(transaction.signature)
            submission = await self._submitter.submit_recorded(sent.transaction)
        else:
            return await self._within_patience(self._settled(sent, sent.fate))
        return await self._within_patience(self._executed(submission))

    async def look_up(self, signature: str) -> ChainTransaction | None:
        """The outcome, as `submit` returns it, of a transaction that is not indexed, whoever sent it.

        Raises TransactionNotFound, which is TransactionRetracted for one that has left the chain, and
        LookupsExhausted as well.
        """
        sent = await self._outbox.find(signature)
        if sent is None:
            return await self._fetch(signature)
        if sent.fate is None:
            return None
        if sent.fate is not Fate.EXPIRED:
            self._lookups.take(signature)  # the node is asked, and anybody can ask for it again
        if await self._has_left_the_chain(sent):
            raise TransactionRetracted(
                TransactionDetails(signature, UNSET if sent.slot is None else sent.slot)
            )
        return await self._within_patience(self._settled(sent, sent.fate))

    async def fetch_indexed(self, signature: str) -> ChainTransaction | None:
        """Fetch a transaction that the index knows but keeps no events of; None while the node lacks it.

        Raises ProgramRefused for one that failed, LookupsExhausted.
        """
        try:
            return await self._fetch(signature)
        except TransactionNotFound:
            return None

    async def _fetch(self, signature: str) -> ChainTransaction:
        """Fetch a transaction that was not submitted here, within the limit of lookups."""
        self._lookups.take(signature)
        try:
            return await self._read(partial(self._fetcher.apply_signature, signature))
        except TransactionNotFound:
            self._lookups.note_not_found(signature)
            raise

    async def _preflight(
        self, transaction: AdmittedTransaction, min_shares: int | None
    ) -> ProgramFailure | None:
        try:
            result = await self._rpc.preflight(transaction.wire)
        except RpcRejected as error:
            return node_refused(error.rpc_message)
        if result.err is not None:
            return explain_failure(result.err, result.logs, self._idl)
        check_spending(transaction, result, self._max_fee_lamports)
        if min_shares:
            _check_shares(transaction.signature, shares_bought(result, self._codec), min_shares)
        return None

    async def _not_submitted(
        self, transaction: AdmittedTransaction, refused: ProgramFailure
    ) -> ChainTransaction | None:
        """The answer for a transaction that failed preflight, which it also does when it is on the chain."""
        signature = transaction.signature
        match refused.name:
            case "AlreadyProcessed":
                return await self._within_patience(
                    self._shown(partial(self._fetcher.apply_signature, signature))
                )
            case "BlockhashNotFound":
                return await self._landed_or_expired(signature)
            case "SlippageExceeded":
                raise PriceMoved(PriceMovedDetails(signature=signature))
        wallet = Pubkey.from_string(transaction.wallet)
        await self._funds.explain(refused, wallet, transaction.outlays, transaction.fee_lamports)
        raise ProgramRefused(refused, signature=signature)

    async def _landed_or_expired(self, signature: str) -> ChainTransaction:
        """Within the limit of lookups: signing costs nothing, so anybody can make up such a transaction."""
        try:
            return await self._fetch(signature)
        except TransactionNotFound as error:
            raise TransactionExpired(signature) from error

    async def _signed(self, transaction: AdmittedTransaction, min_shares: int | None) -> SignedTransaction:
        latest = await self._rpc.latest_blockhash()
        return SignedTransaction(
            signature=transaction.signature,
            wire=transaction.wire,
            # The transaction's own blockhash may be newer than the one fetched here, by no more than this.
            last_valid_block_height=latest.last_valid_block_height + _SPARE_BLOCKS,
            purpose=_PURPOSE,
            relayed_for=transaction.wallet,
            min_shares=min_shares,
        )

    async def _executed(self, submission: Submission) -> ChainTransaction:
        try:
            await submission.landed()
        except TransactionFailed as error:
            if error.slot is None:
                raise self._refused(submission.signature, error.failure.name) from error
        return await self._shown(submission.indexed)

    async def _has_left_the_chain(self, sent: OutboxEntry) -> bool:
        """Whether a block held it, and none does any more: a fork took that block.

        It can land again while its blockhash lives, and is followed to its end once it is sent anew. A node
        that is behind that slot, or has pruned it, shows nothing.
        """
        if sent.slot is None:
            return False
        signature = sent.transaction.signature
        found = await self._rpc.signature_statuses([signature], search_history=True)
        if found.by_signature[signature] is not None or found.slot < sent.slot:
            return False
        return await self._rpc.first_available_block() <= sent.slot

    async def _settled(self, sent: OutboxEntry, fate: Fate) -> ChainTransaction:
        signature = sent.transaction.signature
        if fate is Fate.EXPIRED:
            raise TransactionExpired(signature)
        if fate is Fate.FAILED and sent.slot is None:
            return await self._executed_after_all(signature, sent.error or "UnknownError")
        return await self._shown(partial(self._fetcher.apply_signature, signature))

    async def _executed_after_all(self, signature: str, error: str) -> ChainTransaction:
        """A transaction that failed in a simulation can still have been sent by somebody else."""
        try:
            return await self._read(partial(self._fetcher.apply_signature, signature))
        except TransactionNotFound as missing:
            raise self._refused(signature, error) from missing

    async def _shown(self, fetch: Callable[[], Awaitable[ChainTransaction]]) -> ChainTransaction:
        """Call `fetch` until the node shows the transaction, which it knows to be confirmed.

        A node can know that a little before it shows the transaction. One that has dropped the transaction
        never shows it: the pauses grow.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._read(fetch)
            except TransactionNotFound:
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)

    async def _read(self, fetch: Callable[[], Awaitable[ChainTransaction]]) -> ChainTransaction:
        """What `fetch` gives. Where that cannot be read, what the status says: where it is, and that it
        succeeded.

        Raises ProgramRefused for one that failed, and TransactionNotFound.
        """
        try:
            transaction = await fetch()
        except TransactionUnread as unread:
            transaction = self._by_status(unread.signature, unread.status)
        if transaction.error is not None:
            raise ProgramRefused(transaction.error, signature=transaction.signature)
        return transaction

    def _by_status(self, signature: str, status: SignatureStatus) -> ChainTransaction:
        """A transaction of which nothing else is known: it may have any events."""
        error = None if status.err is None else explain_failure(status.err, None, self._idl)
        return ChainTransaction(
            signature=signature,
            slot=status.slot,
            block_time=None,
            index_in_block=None,
            succeeded=error is None,
            error=error,
            events=(),
            quarantined=(),
            creations=(),
            dispute_counts=(),
            logs_truncated=error is None,
        )

    async def _within_patience(self, answer: Awaitable[ChainTransaction]) -> ChainTransaction | None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await answer
        except TimeoutError:
            return None

    def _refused(self, signature: str, name: str) -> ProgramRefused:
        return ProgramRefused(failure_named(name, self._idl), signature=signature)


def _check_shares(signature: str, bought: int | None, min_shares: int) -> None:
    """Raises PriceMoved for fewer than `min_shares`, and TransactionRefused where that cannot be known."""
    if bought is None:
        raise TransactionRefused(
            "The logs of its simulation are cut off, so that nobody can tell how many shares it buys: leave "
            "out instructions that log, or send it with min_shares 0."
        )
    if bought < min_shares:
        raise PriceMoved(PriceMovedDetails(signature=signature, shares=str(bought)))
