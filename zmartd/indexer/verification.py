"""Verifies implausible deliveries: looks their transactions up by signature, and applies what the node has.

What the delivery said is never applied. Forged signatures cost one request per run, however many there are,
since only transactions that are on the chain are fetched.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.events.recording import known_signatures
from zmartd.indexer.fetch import Fetcher
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store import unverified
from zmartd.store.postgres.database import Database

MAX_PER_RUN = 100
"""How many are looked up in a run."""
MAX_ATTEMPTS = 10
"""Delivered transactions are confirmed, so a node knows them within seconds. With a run every 30 seconds, a
node that is behind has five minutes to catch up. A run in which the node does not answer does not count."""

_UNKNOWN = f"no RPC node knew it in {MAX_ATTEMPTS} attempts"

_OUTCOMES = Counter(
    "zmartd_unverified_transactions_total",
    "Implausible deliveries of transactions, by what became of them",
    ["outcome"],
)

log = get_logger(__name__)


class VerificationReport(Struct, frozen=True):
    """How many transactions were settled by what the chain has, and how many are given up."""

    settled: int = 0
    given_up: int = 0


async def set_aside(connection: Connection, doubts: Sequence[tuple[ChainTransaction, str]]) -> None:
    """Set transactions aside for verification, each with its doubt. Takes a service transaction."""
    if not doubts:
        return
    claims = sorted({(tx.signature, tx.slot, doubt) for tx, doubt in doubts})
    dropped = await unverified.add(connection, claims)
    log.warning(
        "inbox.set_aside",
        transactions=len(claims),
        dropped=dropped,
        signature=claims[0][0],
        doubt=claims[0][2],
    )
    _OUTCOMES.labels("set_aside").inc(len(claims))
    _OUTCOMES.labels("dropped").inc(dropped)


class Verification:
    """Verifies the transactions that were set aside."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database

    async def run(self) -> VerificationReport:
        """Verify some of them. Can be stopped at any time. Raises RpcUnavailable, DatabaseUnavailable."""
        async with self._database.service() as connection:
            signatures = await unverified.waiting(connection, MAX_PER_RUN)
            known = await known_signatures(connection, signatures)
        if not signatures:
            return VerificationReport()
        unknown = [signature for signature in signatures if signature not in known]
        statuses = await self._rpc.signature_statuses(unknown, search_history=True)
        landed = {
            signature: status
            for signature, status in statuses.by_signature.items()
            if status is not None and status.is_confirmed
        }
        fetched = await self._fetcher.fetch([one for one, status in landed.items() if status.err is None])
        await self._fetcher.indexer.apply(fetched.transactions)
        settled = [*known, *(signature for signature in landed if signature not in fetched.not_found)]
        missed = [signature for signature in unknown if signature not in settled]
        async with self._database.service() as connection:
            await unverified.remove(connection, settled)
            given_up = await unverified.record_misses(connection, missed, MAX_ATTEMPTS, _UNKNOWN)
        if given_up:
            log.warning("verification.given_up", transactions=given_up, reason=_UNKNOWN)
        _OUTCOMES.labels("settled").inc(len(settled))
        _OUTCOMES.labels("given_up").inc(given_up)
        return VerificationReport(len(settled), given_up)
