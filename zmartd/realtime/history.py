"""Reads streams, and the present state of their markets, from the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from zmartd.log import get_logger
from zmartd.market.ids import is_address, is_market_id
from zmartd.realtime.messages import AnyMessage, Snapshot, decode_message
from zmartd.realtime.snapshots import snapshot_of
from zmartd.store import markets, streams
from zmartd.store.postgres.database import Database
from zmartd.store.streams import Changes, StoredMessage, StreamPosition

MAX_AT_ONCE = 1_000
"""Messages of each stream that one read returns."""
MAX_DISOWNED = 10_000
"""Messages of a copied database that one transaction changes."""

log = get_logger(__name__)


class StreamHistory:
    """What hubs read. The methods raise DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady."""

    def __init__(self, database: Database, announced: Callable[[], None] = lambda: None) -> None:
        """`announced` is called when something has been read, before a hub tells anybody of it."""
        self._database = database
        self._announced = announced

    async def changes(self, horizon: str | None) -> Changes:
        """Which streams have changed since `horizon`, that of an earlier look.

        A new epoch begins here if the database is another one than before.
        """
        async with self._database.service_reader() as connection:
            found = await streams.changes(connection, horizon)
        self._announced()
        if found is not None:
            return found
        disowned = MAX_DISOWNED
        while disowned == MAX_DISOWNED:
            async with self._database.service() as connection:
                disowned = await streams.disown(connection, MAX_DISOWNED)
        async with self._database.service() as connection:
            await streams.begin_epoch(connection)
        return await self.changes(None)

    async def after(self, positions: Mapping[str, StreamPosition]) -> dict[str, list[AnyMessage]]:
        """The messages of streams after these positions, by stream and in order, up to MAX_AT_ONCE of each.

        What cannot be read is left out.
        """
        wanted = {name: position.seq for name, position in positions.items()}
        async with self._database.service_reader() as connection:
            found = await streams.after(connection, wanted, MAX_AT_ONCE)
        self._announced()
        return {
            name: _messages(name, found.get(name, ()), position.epoch) for name, position in positions.items()
        }

    async def positions(self, names: Sequence[str]) -> dict[str, StreamPosition]:
        """How far these streams have come."""
        async with self._database.service_reader() as connection:
            found = await streams.positions(connection, names)
        self._announced()
        return found

    async def snapshots(self, names: Sequence[str]) -> dict[str, Snapshot]:
        """The markets with these ids or addresses, by the name that was asked for. Others are left out."""
        wanted = [name for name in names if is_market_id(name) or is_address(name)]
        if not wanted:
            return {}
        async with self._database.service_reader() as connection:
            rows = await markets.find_all(connection, wanted)
        self._announced()
        by_name: dict[str, Snapshot] = {}
        for market in rows:
            by_name[market.id] = by_name[market.on_chain_address] = snapshot_of(market)
        return {name: by_name[name] for name in wanted if name in by_name}


def _messages(name: str, stored: Sequence[StoredMessage], epoch: str) -> list[AnyMessage]:
    messages: list[AnyMessage] = []
    for one in stored:
        try:
            message = decode_message(name, one.body)
        except msgspec.DecodeError as error:  # one of a daemon of a later version
            log.warning("realtime.unreadable_message", stream=name, seq=one.seq, reason=str(error))
        else:
            messages.append(msgspec.structs.replace(message, position=StreamPosition(epoch, one.seq)))
    return messages
