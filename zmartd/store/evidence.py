"""Evidence of resolutions and disputes, and the documents with a content id that the daemon keeps."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import AboutMarket, DetailedError
from zmartd.market.evidence import EvidenceKind
from zmartd.store.postgres.reader import Reads

KEPT = 3
"""The newest documents of a wallet about a market that are kept before one of them is on the chain."""

_HAND_IN = """
insert into evidence as known (market_id, user_wallet, kind, cid, document, early_reason)
values ($1, $2, $3, $4, $5, $6)
on conflict (market_id, user_wallet, kind, cid) do update
   set document = coalesce(excluded.document, known.document), early_reason = excluded.early_reason,
       created_at = now()
"""
_PURGE = """
delete from evidence as old using markets as market
 where old.market_id = $1 and old.user_wallet = $2 and old.kind = $3 and market.id = old.market_id
   and old.cid is distinct from market.ipfs_evidence_hash
   and old.cid not in (select cid from evidence where market_id = $1 and user_wallet = $2 and kind = $3
                        order by created_at desc, cid limit $4)
"""
_WITH_EARLY_REASON = """
select market_id, cid from evidence
 where user_wallet = $1 and kind = 'resolution' and cid = any($2::text[]) and early_reason is not null
"""
SHOWN: Final = """
select distinct on (given.kind) given.kind, given.user_wallet as wallet, given.cid, given.document,
       case when market.resolution_proposed_at < market.end_date then given.early_reason end as early_reason,
       given.created_at
  from evidence as given join markets as market on market.id = given.market_id
 where given.market_id = {market_id}
   and (given.kind = 'resolution' and given.cid = market.ipfs_evidence_hash
        and given.user_wallet = market.resolver_wallet
        or given.kind = 'dispute' and given.user_wallet = market.dispute_initiator)
 order by given.kind, given.created_at desc, given.cid
"""
"""SQL, to be completed: the fields of `Evidence` that is shown about a market, one of each kind."""
_SHOWN_OF = SHOWN.format(market_id="$1")
_DOCUMENT = """
select document from evidence where cid = $1 and document is not null
union all
select document from market_metadata where cid = $1
limit 1
"""


class DocumentDetails(Struct, frozen=True):
    """The document that an error is about."""

    cid: str
    """Its content id."""


class DocumentNotFound(DetailedError[DocumentDetails]):
    """No document with this content id is kept here; ask an IPFS gateway for it."""

    code = "document_not_found"


class NotTheDisputer(DetailedError[AboutMarket]):
    """Only the wallet that disputed the outcome hands in evidence against it, while it is disputed."""

    code = "not_the_disputer"


class Evidence(Struct, frozen=True):
    """What a wallet handed in about a market. `document` is None where the wallet keeps it elsewhere."""

    kind: EvidenceKind
    wallet: str
    cid: str
    document: bytes | None
    early_reason: str | None
    created_at: datetime


async def hand_in(
    connection: Connection,
    market_id: str,
    wallet: str,
    kind: EvidenceKind,
    *,
    cid: str,
    document: bytes | None,
    early_reason: str | None = None,
) -> None:
    """Store evidence as the wallet's newest. What is stored already becomes the newest, with this reason.

    Takes a service transaction for a resolution; for a dispute a transaction of the wallet, which
    NotTheDisputer aborts.
    """
    try:
        await connection.execute(_HAND_IN, market_id, wallet, kind, cid, document, early_reason)
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotTheDisputer(AboutMarket(market_id)) from error


async def purge(connection: Connection, market_id: str, wallet: str, kind: EvidenceKind) -> None:
    """Delete what is older than the KEPT newest of a wallet, and not on the chain.

    Takes a service transaction.
    """
    await connection.execute(_PURGE, market_id, wallet, kind, KEPT)


async def with_early_reason(
    connection: Reads, wallet: str, cids: Collection[str]
) -> frozenset[tuple[str, str]]:
    """The evidence among `cids` with which the wallet has said why it proposes an outcome early, as the id of
    its market and its content id. Any caller may read it.
    """
    rows = await connection.fetch(_WITH_EARLY_REASON, wallet, list(cids))
    return frozenset((row["market_id"], row["cid"]) for row in rows)


async def shown(connection: Reads, market_id: str) -> dict[EvidenceKind, Evidence]:
    """The evidence of the resolution that is on the chain, and of who disputed it, as any caller may read."""
    return {row["kind"]: Evidence(**dict(row)) for row in await connection.fetch(_SHOWN_OF, market_id)}


async def document(connection: Reads, cid: str) -> bytes:
    """The document with this content id. Any caller may read it. Raises DocumentNotFound."""
    found: bytes | None = await connection.fetchval(_DOCUMENT, cid)
    if found is None:
        raise DocumentNotFound(DocumentDetails(cid))
    return found
