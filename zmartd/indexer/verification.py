"""Verifies deliveries that are implausible or cannot be read: looks their transactions up by signature, and
applies what the node has.

What the delivery said is never applied. Forged signatures cost one request per run, however many there are,
since only transactions that are on the chain are fetched.
"""

from __future__ import annotations

from collections.abc import Iterable

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.rpc import Rpc
from zmartd.indexer.events.recording import known_signatures
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import apply_each
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store import unverified
from zmartd.store.postgres.database import Database
from zmartd.store.unverified import Claim

MAX_PER_RUN = 100
"""How many are looked up in a run."""
MAX_ATTEMPTS = 10
"""Delivered transactions are confirmed, so a node knows them within seconds. With a run every 30 seconds, a
node that is behind has five minutes to catch up. A run in which the node does not answer does not count."""

_UNKNOWN = f"no RPC node gave it in {MAX_ATTEMPTS} attempts"

_OUTCOMES = Counter(
    "zmartd_unverified_transactions_total",
    "Delivered transactions that are implausible or cannot be read, by what became of them.",
    ["outcome"],
)

log = get_logger(__name__)


class VerificationReport(Struct, frozen=True):
    """How many transactions were settled by what the chain has, and how many are given up."""

    settled: int = 0
    given_up: int = 0


async def set_aside(connection: Connection, doubted: Iterable[Claim]) -> None:
    """Set transactions aside for verification. Takes a service transaction."""
    claims = sorted(set(doubted))
    if not claims:
        return
    dropped = await unverified.add(connection, claims)
    log.warning(
        "inbox.set_aside",
        transactions=len(claims),
        dropped=dropped,
        signature=claims[0].signature,
        doubt=claims[0].doubt,
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
        done = await apply_each(self._fetcher.indexer, fetched.transactions)
        still_open = {*fetched.not_found, *(one.signature for one in fetched.unread)}
        still_open.update(one.signature for one in done.failed)
        settled = [*known, *(signature for signature in landed if signature not in still_open)]
        missed = [signature for signature in unknown if signature not in settled]
        # What the node has and nobody can read is parked where the program's history lists it.
        async with self._database.service() as connection:
            await unverified.remove(connection, settled)
            given_up = await unverified.record_misses(connection, missed, MAX_ATTEMPTS, _UNKNOWN)
        if given_up:
            log.warning("verification.given_up", transactions=given_up, reason=_UNKNOWN)
        _OUTCOMES.labels("settled").inc(len(settled))
        _OUTCOMES.labels("given_up").inc(given_up)
        return VerificationReport(len(settled), given_up)
