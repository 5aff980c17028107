"""A signed transaction's way through the daemon: tried, recorded, sent, confirmed, indexed and told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from zmartd.chain.failures import ProgramFailure, ProgramRefused, explain_failure, failure_named, node_refused
from zmartd.chain.idl import Idl
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.sending import Sending
from zmartd.chain.signed_transactions import Fate, SignedTransaction, TransactionExpired, TransactionFailed
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.fetch import Fetcher, TransactionNotFound
from zmartd.store.outbox import DatabaseOutbox, OutboxEntry
from zmartd.transactions.admission import AdmittedTransaction
from zmartd.transactions.lookup_limit import LookupLimit

_SPARE_BLOCKS = 32
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 3.2
_PURPOSE = "relay"


class Relay:
    """Passes transactions on and answers for them: once they are recorded, the same bytes always get the same
    answer."""

    def __init__(
        self,
        *,
        outbox: DatabaseOutbox,
        sender: Sender,
        fetcher: Fetcher,
        rpc: Rpc,
        idl: Idl,
        clock: Clock,
        lookups: LookupLimit,
        patience_seconds: float,
    ) -> None:
        """`patience_seconds`: how long a caller waits for the confirmation before being told to ask again."""
        self._outbox = outbox
        self._sender = sender
        self._fetcher = fetcher
        self._rpc = rpc
        self._idl = idl
        self._clock = clock
        self._lookups = lookups
        self._patience_seconds = patience_seconds

    async def submit(self, transaction: AdmittedTransaction) -> ChainTransaction | None:
        """What the transaction did, once it is confirmed and indexed; None while it is still under way.

        Nothing of it is kept before it would succeed on the newest state. From when it is recorded on it is
        ours to follow, whatever happens to this request or this daemon.

        Raises ProgramRefused when it failed or would fail, TransactionExpired when it can never land,
        TooManyPending, LookupsExhausted, SenderUnavailable, RpcUnavailable, DatabaseUnavailable.
        """
        sent = await self._outbox.find(transaction.signature)
        if sent is None:
            refused = await self._preflight(transaction)
            if refused is not None:
                return await self._not_sent(transaction.signature, refused)
            await reached(Point.RELAY_TRIED)
            signed = await self._signed(transaction)
        elif sent.fate is None:
            signed = sent.transaction
        else:
            return await self._within_patience(self._settled(sent, sent.fate))
        sending = await self._sender.begin(signed)
        return await self._within_patience(self._landed(sending))

    async def look_up(self, signature: str) -> ChainTransaction | None:
        """As `submit`, for a transaction that was sent before, here or by somebody else, and is not indexed.

        Raises TransactionNotFound and LookupsExhausted as well.
        """
        sent = await self._outbox.find(signature)
        if sent is None:
            return await self._foreign(signature)
        if sent.fate is None:
            return None
        return await self._within_patience(self._settled(sent, sent.fate))

    async def fetch_indexed(self, signature: str) -> ChainTransaction | None:
        """What the chain has of a transaction that the index knows and cannot tell of, None while the node
        cannot show it.

        Raises ProgramRefused for one that failed, LookupsExhausted.
        """
        try:
            return await self._foreign(signature)
        except TransactionNotFound:
            return None

    async def _foreign(self, signature: str) -> ChainTransaction:
        self._lookups.take(signature)
        try:
            return self._succeeded(await self._fetcher.apply_signature(signature))
        except TransactionNotFound:
            self._lookups.note_not_found(signature)
            raise

    async def _preflight(self, transaction: AdmittedTransaction) -> ProgramFailure | None:
        """Why the transaction would not succeed now; None where it would."""
        try:
            result = await self._rpc.preflight(transaction.wire)
        except RpcRejected as error:
            return node_refused(error.rpc_message)
        return None if result.err is None else explain_failure(result.err, result.logs, self._idl)

    async def _not_sent(self, signature: str, refused: ProgramFailure) -> ChainTransaction | None:
        """The answer for a transaction that did not pass preflight, perhaps because it is on the chain."""
        match refused.name:
            case "AlreadyProcessed":
                return await self._within_patience(self._executed(signature))
            case "BlockhashNotFound":
                return await self._landed_or_expired(signature)
        raise ProgramRefused(refused, signature=signature)

    async def _landed_or_expired(self, signature: str) -> ChainTransaction:
        """Signing is free, so this is a look-up like any stranger's."""
        try:
            return await self._foreign(signature)
        except TransactionNotFound as error:
            raise TransactionExpired(signature) from error

    async def _signed(self, transaction: AdmittedTransaction) -> SignedTransaction:
        latest = await self._rpc.latest_blockhash()
        return SignedTransaction(
            signature=transaction.signature,
            wire=transaction.wire,
            # Its own blockhash may be newer than the one we know, by no more than this.
            last_valid_block_height=latest.last_valid_block_height + _SPARE_BLOCKS,
            purpose=_PURPOSE,
            relayed_for=transaction.wallet,
        )

    async def _landed(self, sending: Sending) -> ChainTransaction:
        signature = sending.signature
        try:
            await sending.landed()
        except TransactionFailed as error:
            if error.slot is None:
                raise self._refused(signature, error.failure.name) from error
        await reached(Point.RELAY_LANDED)
        executed = await self._executed(signature)
        await reached(Point.RELAY_INDEXED)
        return executed

    async def _settled(self, sent: OutboxEntry, fate: Fate) -> ChainTransaction:
        signature = sent.transaction.signature
        if fate is Fate.EXPIRED:
            raise TransactionExpired(signature)
        if fate is Fate.FAILED and sent.slot is None:
            return await self._found(
                signature, otherwise=self._refused(signature, sent.error or "UnknownError")
            )
        return await self._executed(signature)

    async def _found(self, signature: str, otherwise: ZmartdError) -> ChainTransaction:
        """What the chain has, perhaps from somebody else. Raises `otherwise` when it has nothing."""
        try:
            return self._succeeded(await self._fetcher.apply_signature(signature))
        except TransactionNotFound as error:
            raise otherwise from error

    async def _within_patience(self, answer: Awaitable[ChainTransaction]) -> ChainTransaction | None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await answer
        except TimeoutError:
            return None

    async def _executed(self, signature: str) -> ChainTransaction:
        """A node may know that a transaction is confirmed a little before it can show it.

        One that it forgot it never shows: it is asked ever more rarely.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._succeeded(await self._fetcher.apply_signature(signature))
            except TransactionNotFound:
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)

    def _succeeded(self, transaction: ChainTransaction) -> ChainTransaction:
        if transaction.error is not None:
            raise ProgramRefused(transaction.error, signature=transaction.signature)
        return transaction

    def _refused(self, signature: str, name: str) -> ProgramRefused:
        return ProgramRefused(failure_named(name, self._idl), signature=signature)
