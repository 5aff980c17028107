"""A history from its beginning: every transaction that the index lacks, oldest first, through the door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import MAX_SIGNATURES_PER_REQUEST, Rpc
from zmartd.errors import ZmartdError
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.recording import known_signatures
from zmartd.store.pool import Database

_BATCH = 100


class UnknownEnd(ZmartdError):
    """There is no such transaction in that part of the history: give another signature, or a slot."""

    code = "unknown_end"


class Stretch(Struct, frozen=True):
    """A part of a history, both ends included. `until` is the last slot, or the last signature, if any."""

    from_slot: int = 0
    until: int | str | None = None


EVERYTHING = Stretch()


class Backfilled(Struct, frozen=True):
    """Transactions looked at, those of them that were applied, their new events, and those not to be had."""

    transactions: int
    applied: int
    new_events: int
    not_found: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.not_found


Progress = Callable[[int, int], None]
"""Is told how many transactions are through, of how many."""


def unheard(done: int, total: int) -> None:
    """Progress that nobody wants to know of."""


async def successful_transactions(
    rpc: Rpc, address: Pubkey, stretch: Stretch = EVERYTHING
) -> list[SignatureInfo]:
    """What happened to `address` in a stretch of its history, oldest first.

    Raises UnknownEnd when the stretch ends with a transaction that is not in it, and RpcUnavailable.
    """
    newest_first: list[SignatureInfo] = []
    reached = not isinstance(stretch.until, str)
    before: str | None = None
    while True:
        page = await rpc.signatures_for_address(address, before=before)
        for one in page:
            reached = reached or one.signature == stretch.until
            late = isinstance(stretch.until, int) and one.slot > stretch.until
            if reached and not late and one.err is None and one.slot >= stretch.from_slot:
                newest_first.append(one)
        if len(page) < MAX_SIGNATURES_PER_REQUEST or page[-1].slot < stretch.from_slot:
            if not reached:
                raise UnknownEnd(until=stretch.until)
            return newest_first[::-1]
        before = page[-1].signature


async def missing_transactions(
    database: Database, history: Sequence[SignatureInfo]
) -> tuple[SignatureInfo, ...]:
    """Those of a history that have no event in the index. Some may have none to give."""
    async with database.service() as connection:
        known = await known_signatures(connection, [one.signature for one in history])
    return tuple(one for one in history if one.signature not in known)


async def backfill(
    database: Database,
    fetcher: Fetcher,
    history: Sequence[SignatureInfo],
    progress: Progress = unheard,
) -> Backfilled:
    """Fetch and apply what is missing of a history. Stopped and started again it goes on where it was.

    Raises RpcUnavailable, DatabaseUnavailable, DatabaseTimeout.
    """
    done = applied = new_events = 0
    not_found: list[str] = []
    for batch in _batches(history):
        wanted = [one.signature for one in await missing_transactions(database, batch)]
        if wanted:
            result, lost = await fetcher.apply_signatures(wanted)
            applied += result.transactions
            new_events += result.new_events
            not_found += lost
        done += len(batch)
        progress(done, len(history))
    return Backfilled(done, applied, new_events, tuple(not_found))


def _batches(history: Sequence[SignatureInfo]) -> Iterator[Sequence[SignatureInfo]]:
    return (history[start : start + _BATCH] for start in range(0, len(history), _BATCH))
