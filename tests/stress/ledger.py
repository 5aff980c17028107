"""What the chain says that happened, against what the index makes of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import asyncpg
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd import config
from zmartd.chain.answers import SignatureInfo
from zmartd.chain.codec import Codec
from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import MAX_SIGNATURES_PER_REQUEST, Rpc
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.config_values import PostgresUrl
from zmartd.indexer.audit.audit import audit
from zmartd.indexer.replay.replay import replay
from zmartd.store.postgres.database import Database

_AT_ONCE = 16
_EVENTS = "select tx_signature, event_index from program_events"
_TRADES = "select tx_signature, event_index from trades"
_PRICED = """
select tx_signature, event_index from trade_events where event_type in ('SharesBought', 'SharesSold')
"""
_MEANT = "select signature, market_id, purpose from transaction_intents"

Place = tuple[str, int]
"""Where an event stands: the transaction's signature, and its place among the transaction's events."""


Meaning = tuple[str, str]
"""What a transaction of the authority is for: a market's id and a purpose."""


class Verdict(Struct, frozen=True):
    """All numbers are zero when the index equals the chain."""

    lost: int
    """Events on the chain that the index lacks, and trades without a row."""
    duplicated: int
    """Events or trades that the index has twice, or that are not on the chain."""
    differences: int
    """What `zmartd audit` finds, and markets about which it found no verdict."""
    sent_twice: int
    """Decisions that the authority's transactions carried out, or tried to, more than once."""
    acknowledged_lost: int
    """Events of deliveries that were answered with 200 and are not in the index."""
    events: int
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not (
            self.lost or self.duplicated or self.differences or self.sent_twice or self.acknowledged_lost
        )


class Ledger:
    """Reads the whole history of the program, each transaction once."""

    def __init__(self, rpc: Rpc, program_id: Pubkey, authority: Pubkey) -> None:
        self._rpc = rpc
        self._program_id = program_id
        self._authority = authority
        self._codec = Codec(default_idl(str(program_id)))
        self._known: dict[tuple[str, int], ChainTransaction] = {}

    async def compare(self, dsn: str, acknowledged: Iterable[str], *, inbox_only: bool = False) -> Verdict:
        """Compare everything; with `inbox_only` what the daemon never acknowledged may be missing.

        Raises RpcUnavailable, DatabaseUnavailable and the like: the system has to be whole.
        """
        events = await self._events()
        database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(dsn), pool_size=3))
        try:
            async with database.service() as connection:
                indexed = await _places(connection, _EVENTS)
                trades = await _places(connection, _TRADES)
                priced = await _places(connection, _PRICED)
                meant: dict[str, list[Meaning]] = {}
                for row in await connection.fetch(_MEANT):
                    meant.setdefault(row["signature"], []).append((row["market_id"], row["purpose"]))
            report = await audit(database, self._rpc, self._program_id, patience_seconds=0.0)
        finally:
            await database.close()
        lost = [place for place in events if place not in indexed]
        untraded = [place for place in priced if place not in trades]
        owed = set(acknowledged)
        owed_lost = [place for place in lost if place[0] in owed]
        twice = _repeated(indexed) + _repeated(trades)
        unknown = [place for place in [*indexed, *trades] if place not in events]
        # What landed while the index was read is on the chain by now.
        later = await self._events() if unknown else {}
        phantoms = [place for place in unknown if place not in later]
        sent_twice = await self._sent_twice(meant)
        # What was never acknowledged may be missing, and then nothing adds up.
        differing = () if inbox_only and lost else report.differences
        moving = () if inbox_only and lost else report.moving
        return Verdict(
            lost=0 if inbox_only else len(lost) + len(untraded),
            duplicated=len(twice) + len(phantoms),
            differences=len(differing) + len(moving),
            sent_twice=len(sent_twice),
            acknowledged_lost=len(owed_lost),
            events=len(events),
            notes=(
                *(
                    f"lost {events[place]} {place}"
                    for place in lost[:3]
                    if not inbox_only or place[0] in owed
                ),
                *(f"twice or not on the chain {place}" for place in [*twice, *phantoms][:3]),
                *(f"{one}" for one in differing[:3]),
                *(f"moving {market}" for market in moving[:3]),
                *(f"sent twice: {one}" for one in sent_twice[:3]),
            ),
        )

    async def replay(self, dsn: str) -> tuple[str, ...]:
        """The tables that are not what the whole history leaves in an empty database.

        As `zmartd audit --replay` compares them. Raises RpcUnavailable, DatabaseUnavailable and the like.
        """
        settings = config.DatabaseSettings(url=PostgresUrl(dsn), pool_size=3)
        parse = partial(parse_transaction, program_id=self._program_id, codec=self._codec)
        database = await Database.connect(settings)
        try:
            report = await replay(database, settings, rpc=self._rpc, program_id=self._program_id, parse=parse)
        finally:
            await database.close()
        return tuple(one.table for one in report.tables if not one.ok)

    async def _events(self) -> dict[Place, str]:
        """The name of every event of the program, by its place."""
        return {
            (one.signature, event.ordinal): type(event.event).__name__
            for one in await self._history()
            for event in one.events
        }

    async def _history(self) -> list[ChainTransaction]:
        infos = await self._signatures(self._program_id)
        keys = [(info.signature, info.slot) for info in infos if info.err is None]
        fresh = [key for key in keys if key not in self._known]
        for start in range(0, len(fresh), _AT_ONCE):
            part = fresh[start : start + _AT_ONCE]
            fetched = await asyncio.gather(*(self._rpc.transaction(signature) for signature, _ in part))
            for key, raw in zip(part, fetched, strict=True):
                if raw is not None:
                    self._known[key] = parse_transaction(raw, self._program_id, self._codec)
        return [self._known[key] for key in keys if key in self._known]

    async def _sent_twice(self, meant: Mapping[str, Sequence[Meaning]]) -> list[str]:
        """Transactions of the authority that were executed after another one had done what they were for.

        One that failed because its market was gone for a while is none of these.
        """
        done: set[Meaning] = set()
        again: list[str] = []
        for info in reversed(await self._signatures(self._authority)):
            for meaning in meant.get(info.signature, ()):
                if meaning in done:
                    how = info.err or "done again"
                    again.append(f"{meaning} in slot {info.slot}: {info.signature}, {how}")
                elif info.err is None:
                    done.add(meaning)
        return again

    async def _signatures(self, address: Pubkey) -> list[SignatureInfo]:
        found: list[SignatureInfo] = []
        before: str | None = None
        while True:
            page = await self._rpc.signatures_for_address(
                address, before=before, limit=MAX_SIGNATURES_PER_REQUEST
            )
            found += page
            if len(page) < MAX_SIGNATURES_PER_REQUEST:
                return found
            before = page[-1].signature


async def _places(connection: asyncpg.Connection, query: str) -> Counter[Place]:
    return Counter((row["tx_signature"], row["event_index"]) for row in await connection.fetch(query))


def _repeated(places: Counter[Place]) -> list[Place]:
    return [place for place, times in places.items() if times > 1]
