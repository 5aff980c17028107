"""Reads streams, and the present state of their markets, from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from zmartd.market.ids import is_address, is_market_id
from zmartd.realtime.messages import Message, Snapshot, market_stream
from zmartd.realtime.snapshots import snapshot_of
from zmartd.store import markets, streams
from zmartd.store.postgres.database import Database
from zmartd.store.streams import Changes, StoredMessage, StreamPosition

MAX_AT_ONCE = 1_000
"""Messages of each stream that one read returns."""
MAX_DISOWNED = 10_000
"""Messages of a copied database that one transaction changes."""


class StreamHistory:
    """What hubs read. The methods raise DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decoder = msgspec.json.Decoder(Message)

    async def changes(self, horizon: str | None) -> Changes:
        """Which streams have changed since `horizon`, that of an earlier look.

        A new epoch begins here if the database is another one than before.
        """
        async with self._database.service_reader() as connection:
            found = await streams.changes(connection, horizon)
        if found is not None:
            return found
        disowned = MAX_DISOWNED
        while disowned == MAX_DISOWNED:
            async with self._database.service() as connection:
                disowned = await streams.disown(connection, MAX_DISOWNED)
        async with self._database.service() as connection:
            await streams.begin_epoch(connection)
        return await self.changes(None)

    async def after(self, positions: Mapping[str, int], epoch: str) -> dict[str, list[Message]]:
        """The messages of markets after these numbers, by market and in order, up to MAX_AT_ONCE of each."""
        wanted = {market_stream(market_id): seq for market_id, seq in positions.items()}
        async with self._database.service_reader() as connection:
            found = await streams.after(connection, wanted, MAX_AT_ONCE)
        return {
            market_id: [self._message(one, epoch) for one in found.get(market_stream(market_id), ())]
            for market_id in positions
        }

    async def snapshots(self, names: Sequence[str]) -> dict[str, Snapshot]:
        """The markets with these ids or addresses, by the name that was asked for. Others are left out."""
        wanted = [name for name in names if is_market_id(name) or is_address(name)]
        if not wanted:
            return {}
        async with self._database.service_reader() as connection:
            rows = await markets.find_all(connection, wanted)
        by_name: dict[str, Snapshot] = {}
        for market in rows:
            by_name[market.id] = by_name[market.on_chain_address] = snapshot_of(market)
        return {name: by_name[name] for name in wanted if name in by_name}

    def _message(self, stored: StoredMessage, epoch: str) -> Message:
        message = self._decoder.decode(stored.body)
        return msgspec.structs.replace(message, position=StreamPosition(epoch, stored.seq))
