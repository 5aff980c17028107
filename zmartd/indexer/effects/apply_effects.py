"""Applies the effects of events to the projection, in the order that they depend on each other."""

from __future__ import annotations

from collections.abc import Mapping

from asyncpg import Connection

from zmartd.indexer.effects import markets
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.configuration import apply_configuration, rate_history
from zmartd.indexer.effects.lifecycle import apply_lifecycle
from zmartd.indexer.effects.payouts import apply_payouts
from zmartd.indexer.effects.trades import AppliedTrades, apply_trades
from zmartd.indexer.effects.votes import apply_votes, refresh_electorates


async def apply_effects(
    connection: Connection,
    batch: Batch,
    before: Mapping[str, markets.LockedMarket],
    rates_from: int | None = None,
) -> AppliedTrades:
    """Apply the effects of a batch. Returns what its trades and repricing did; what they add to markets is
    for `markets.advance_markets` to write.

    `before` are the batch's markets as they were when the batch locked them. `rates_from` is the slot from
    which fee rates changed without an event of the batch, if they did.
    """
    configured_from = await apply_configuration(connection, batch.rows, batch.commitment)
    await apply_lifecycle(connection, batch)
    await markets.adopt_metadata(connection, batch.rows)
    await apply_votes(connection, batch.rows)
    await apply_payouts(connection, batch.rows, batch.addresses)
    changed_from = min((slot for slot in (rates_from, configured_from) if slot is not None), default=None)
    reprice_from = await markets.trades_to_reprice(connection, batch.rows, changed_from)
    locked = {**before, **await markets.lock_markets(connection, reprice_from.keys() - before.keys())}
    curves = await markets.curves_after_creations(connection, locked, batch.rows)
    traded = AppliedTrades(curves)
    if reprice_from or any(row.is_trade for row in batch.rows):
        traded = await apply_trades(connection, batch, curves, reprice_from, await rate_history(connection))
    await refresh_electorates(connection, batch, before)
    return traded
