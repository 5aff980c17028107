"""The messages that a wallet alone gets once a change of its trades, claims or positions is committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.chain.events import SharesBought, SharesSold, SharesTransferred, WinningsClaimed
from zmartd.indexer.effects.market_messages import Fills, trade_executed
from zmartd.indexer.events.commitment import Promoted
from zmartd.indexer.events.rows import EventRow, UnreadableRow, stored_row
from zmartd.market import ids
from zmartd.realtime.messages import (
    OwnClaim,
    OwnFill,
    OwnPosition,
    OwnPromotion,
    OwnRetraction,
    OwnTransaction,
    WalletChange,
    WalletMessage,
    WalletPosition,
)
from zmartd.store import outbox

_POSITIONS = """
select market_id, user_wallet, shares_yes, shares_no, total_invested, total_returned, claimed_amount,
       has_claimed, trades_count
  from user_positions
  join unnest($1::text[], $2::text[]) as wanted (market_id, user_wallet) using (market_id, user_wallet)
"""
_KINDS = {SharesBought.__name__: "trade", SharesSold.__name__: "trade", WinningsClaimed.__name__: "claim"}
MAX_PROMOTED = 300
"""Ids in one message."""

Holder = tuple[str, str]
"""A market and a wallet."""
MarketOf = Callable[[EventRow], str | None]


class Removed(Struct, frozen=True):
    """An event that was removed, as far as it can be read: of whom, in which market, and its retraction."""

    holders: Sequence[Holder]
    retraction: OwnRetraction | None


async def wallet_messages(
    connection: Connection,
    rows: Sequence[EventRow],
    market_of: MarketOf,
    fills: Fills,
    commitment: Commitment,
    *,
    read: Sequence[Record] = (),
    removed: Sequence[Record] = (),
    at: datetime | None = None,
) -> list[WalletMessage]:
    """Messages about new and removed events, each wallet's in the order of the chain, retractions first.

    Runs after the effects, because it reads the positions that are not `read` yet. `fills` has all trades
    among `rows`. Messages about what was removed have the time `at`.
    """
    gone = [one for record in removed if (one := _removed(record)) is not None]
    holders: dict[Holder, None] = {holder: None for one in gone for holder in one.holders}
    events = [(row, market_id) for row in rows if (market_id := market_of(row)) is not None]
    for row, market_id in events:
        holders.update({(market_id, wallet): None for wallet in _wallets(row)})
    if not holders:
        return []
    positions = await _positions(connection, holders, read)
    messages = [
        WalletMessage(one.holders[0][1], one.retraction, at or _latest(rows), "confirmed")
        for one in gone
        if one.retraction is not None
    ]
    told: set[Holder] = set()
    for row, market_id in sorted(
        events, key=lambda one: (one[0].slot, one[0].index_in_block or 0, one[0].key)
    ):
        for wallet in _wallets(row):
            change = _change(row, market_id, fills, positions[market_id, wallet])
            if change is not None:
                told.add((market_id, wallet))
                messages.append(WalletMessage(wallet, change, row.occurred_at, commitment))
    messages += [
        WalletMessage(
            wallet,
            OwnPosition(market_id=market_id, position=positions[market_id, wallet]),
            at or _latest(rows),
            commitment,
        )
        for market_id, wallet in holders
        if (market_id, wallet) not in told
    ]
    return messages


def wallet_promotions(promoted: Promoted) -> list[WalletMessage]:
    """Messages about trades and claims that became final."""
    of_wallet: dict[str, list[OwnRetraction]] = defaultdict(list)
    times: dict[str, datetime] = {}
    for record in promoted.events:
        market = promoted.markets.get(record["market_id"] or "")
        one = _removed(record) if market is not None else None
        if market is None or one is None or one.retraction is None:
            continue
        wallet = one.holders[0][1]
        of_wallet[wallet].append(one.retraction)
        times[wallet] = market.at
    return [
        WalletMessage(wallet, _promotion(records[start : start + MAX_PROMOTED]), times[wallet], "finalized")
        for wallet, records in of_wallet.items()
        for start in range(0, len(records), MAX_PROMOTED)
    ]


async def finalized_messages(connection: Connection, signatures: Collection[str]) -> list[WalletMessage]:
    """Messages about relayed transactions among these, which have become final."""
    if not signatures:
        return []
    at = await connection.fetchval("select now()")
    return [
        WalletMessage(
            one.wallet,
            OwnTransaction(signature=one.signature, status="finalized", slot=one.slot),
            at,
            "finalized",
        )
        for one in await outbox.relayed(connection, sorted(signatures))
    ]


def _promotion(records: Sequence[OwnRetraction]) -> OwnPromotion:
    return OwnPromotion(
        trades=tuple(one.record_id for one in records if one.kind == "trade"),
        claims=tuple(one.record_id for one in records if one.kind == "claim"),
    )


def _wallets(row: EventRow) -> tuple[str, ...]:
    """The wallets whose positions an event changes."""
    match row.event:
        case SharesBought(user=user) | SharesSold(user=user) | WinningsClaimed(user=user):
            return (str(user),)
        case SharesTransferred() as moved:
            return tuple(dict.fromkeys((str(moved.from_), str(moved.to))))
        case _:
            return ()


def _change(row: EventRow, market_id: str, fills: Fills, position: WalletPosition) -> WalletChange | None:
    match row.event:
        case SharesBought() | SharesSold():
            return OwnFill(market_id=market_id, trade=trade_executed(row, fills[row.key]), position=position)
        case WinningsClaimed(amount=amount):
            return OwnClaim(
                market_id=market_id,
                claim_id=ids.trade_id(row.signature, row.ordinal),
                amount_lamports=amount,
                signature=row.signature,
                slot=row.slot,
                position=position,
            )
        case _:
            return None


def _removed(record: Record) -> Removed | None:
    """What a stored event says of wallets; None for one of none. Its payload need not be readable."""
    market_id, actor, kind = record["market_id"], record["actor"], _KINDS.get(record["event_type"])
    if market_id is None or actor is None:
        return None
    if kind is not None:
        record_id = ids.trade_id(record["tx_signature"], record["event_index"])
        retraction = OwnRetraction(
            market_id=market_id,
            kind="trade" if kind == "trade" else "claim",
            record_id=record_id,
            slot=record["slot"],
        )
        return Removed([(market_id, actor)], retraction)
    if record["event_type"] != SharesTransferred.__name__:
        return None
    try:
        wallets = _wallets(stored_row(record))
    except UnreadableRow:
        wallets = (actor,)
    return Removed([(market_id, wallet) for wallet in wallets], None)


async def _positions(
    connection: Connection, holders: Iterable[Holder], read: Sequence[Record]
) -> Mapping[Holder, WalletPosition]:
    """Their positions, empty ones where there are none; those that are not `read` yet are read."""
    positions = {(row["market_id"], row["user_wallet"]): _position(row) for row in read}
    missing = [holder for holder in holders if holder not in positions]
    if missing:
        positions.update(dict.fromkeys(missing, WalletPosition()))
        for row in await connection.fetch(_POSITIONS, *zip(*missing, strict=True)):
            positions[row["market_id"], row["user_wallet"]] = _position(row)
    return positions


def _position(row: Record) -> WalletPosition:
    return WalletPosition(
        shares_yes=int(row["shares_yes"]),
        shares_no=int(row["shares_no"]),
        invested_lamports=int(row["total_invested"]),
        returned_lamports=int(row["total_returned"]),
        claimed_lamports=int(row["claimed_amount"]),
        has_claimed=row["has_claimed"],
        trades_count=row["trades_count"],
    )


def _latest(rows: Iterable[EventRow]) -> datetime:
    return max(row.occurred_at for row in rows)
