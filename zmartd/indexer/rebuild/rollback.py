"""Rolls back transactions that are not on the chain: removes their event rows and rebuilds their markets."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.indexer.effects.configuration import CONFIGURATION_EVENTS, remove_configuration
from zmartd.indexer.events.incomplete import changed_unread, reopen_accepted
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.removal import remove_transactions
from zmartd.indexer.events.rows import stored_row
from zmartd.indexer.rebuild.corrections import end_corrections
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.realtime.messages import Message, WalletMessage


class Rollback(Struct, frozen=True):
    """How many events were removed, and the messages about them and the markets without them."""

    events: int
    messages: tuple[Message, ...]
    private: tuple[WalletMessage, ...] = ()
    """Those for the wallets of the events."""


async def roll_back(
    connection: Connection, lost: Sequence[TransactionInSlot], configuration: Pubkey
) -> Rollback:
    """Roll back transactions where the index has them in these slots. Takes a service transaction.

    Corrections that stand after one of them end, also where it has no event: what they made up for is open
    again. `configuration` is the address of the program's.
    """
    unread = await changed_unread(connection, lost)
    removed = await remove_transactions(connection, lost)
    unread_slots = [one.slot for one in unread if one.address == str(configuration)]
    rates_from = await remove_configuration(connection, lost, configuration, unread_slots)
    changed = [(row["market_id"], row["slot"]) for row in removed]
    changed += [(one.market_id, one.slot) for one in unread]
    market_ids = await end_corrections(connection, changed)
    market_ids |= {row["market_id"] for row in removed if row["market_id"] is not None}
    accounts = [
        str(configuration) if row["event_type"] in CONFIGURATION_EVENTS else row["market_id"]
        for row in removed
    ]
    await reopen_accepted(
        connection,
        [(account, row["received_at"]) for account, row in zip(accounts, removed, strict=True) if account],
    )
    if not market_ids and rates_from is None:
        return Rollback(len(removed), ())
    at = max(
        (stored_row(row).occurred_at for row in removed), default=await connection.fetchval("select now()")
    )
    messages = await rebuild_markets(connection, market_ids, at, rates_from, removed=removed)
    return Rollback(
        len(removed),
        tuple(one for one in messages if isinstance(one, Message)),
        tuple(one for one in messages if isinstance(one, WalletMessage)),
    )
