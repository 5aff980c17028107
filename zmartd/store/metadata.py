"""What creators registered about their markets: texts of which only the content id is on the chain."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.errors import DetailedError
from zmartd.market.json_fields import MarketKey, StateName
from zmartd.market.proposal import ResolutionTexts
from zmartd.market.slug import slug_base
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ACT_AS_SERVICE
from zmartd.text.likeness import likeness

_COLUMNS = """
select market_id, creator_wallet, on_chain_address, question, description, category, tags, end_date, cid,
       document, b_parameter, initial_liquidity, image_url, created_at, slug,
       (select coalesce(is_paused, false) from protocol) as is_paused
  from market_metadata
"""
_LOCK_CREATOR = "select pg_advisory_xact_lock(hashtextextended('markets:' || $1, 9))"
_PENDING = """
select count(*) as markets, coalesce(sum(octet_length(document)), 0) as bytes
  from market_metadata where creator_wallet = $1 and appeared_at is null
"""
_REGISTER = """
insert into market_metadata (market_id, creator_wallet, on_chain_address, question, description, category,
                             tags, end_date, cid, document, b_parameter, initial_liquidity, likeness,
                             image_url, slug_base)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
on conflict (market_id, creator_wallet) do nothing
returning true
"""
_LOCK_QUESTIONS = "select pg_advisory_xact_lock(hashtextextended('questions', 9))"
# What counts is what somebody can still bet on, or soon will; the texts of another than a market's creator
# do not. One that is on the chain is named before those that are only registered.
_SIMILAR = """
select registered.market_id, registered.question, market.state, market.id is null as pending
  from market_metadata as registered
  left join markets as market on market.id = registered.market_id and not market.orphaned
 where registered.likeness && $3::bytea[]
   and (registered.market_id, registered.creator_wallet) <> ($1, $2)
   and registered.end_date > $4
   and (market.id is null
        or market.creator_wallet = registered.creator_wallet and market.ipfs_question_hash = registered.cid
           and market.state not in ('FINALIZED', 'CANCELLED'))
 order by market.id is null, registered.created_at, registered.market_id
 limit 1
"""
_WITHOUT_LIKENESS = """
select market_id, creator_wallet, question from market_metadata where likeness is null limit 1000
"""
_SET_LIKENESS = """
update market_metadata as registered set likeness = array[told.written, told.in_any_case]
  from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])
       as told (market_id, creator_wallet, written, in_any_case)
 where (registered.market_id, registered.creator_wallet) = (told.market_id, told.creator_wallet)
"""
_CIDS = """
select on_chain_address, cid from market_metadata
 where creator_wallet = $1 and on_chain_address = any($2::text[])
"""
_OWN = _COLUMNS + "where market_id = $1 and creator_wallet = $2"
_FIND = _COLUMNS + "where market_id = $1 or on_chain_address = $1 order by created_at limit 1"
BY_SLUG: Final = """
select registered.market_id
  from market_metadata as registered
  left join markets as market on market.id = registered.market_id and not market.orphaned
 where registered.slug = $1
   and (market.id is null
        or market.creator_wallet = registered.creator_wallet and market.ipfs_question_hash = registered.cid)
"""
"""SQL: the id of the market with the slug $1."""
SHOWN_DOCUMENT: Final = """
select registered.document
  from market_metadata as registered
  left join markets as market on market.id = registered.market_id and not market.orphaned
 where registered.market_id = {market_id}
   and (market.id is null
        or market.creator_wallet = registered.creator_wallet and market.ipfs_question_hash = registered.cid)
 order by registered.created_at limit 1
"""
"""SQL, to be completed: the document that says how a market is resolved."""
_SHOWN_DOCUMENT_OF = SHOWN_DOCUMENT.format(market_id="$1")
_WITHOUT_SLUG = """
select market_id, creator_wallet, question from market_metadata where slug_base is null
 order by created_at limit 1000
"""
_SET_SLUG_BASE = """
update market_metadata as registered set slug_base = told.base
  from unnest($1::text[], $2::text[], $3::text[]) as told (market_id, creator_wallet, base)
 where (registered.market_id, registered.creator_wallet) = (told.market_id, told.creator_wallet)
"""
_NAME = "select zmartd.name_market(id) from unnest($1::text[]) as id"
# The rows first, as whoever applies events to these markets does.
_LOCK_MARKETS = "select from markets where id = any($1::text[]) order by id for update"
_LOCK_TEXTS = """
select pg_advisory_xact_lock(hashtextextended('texts of market:' || id, 7))
  from (select unnest($1::text[]) as id order by 1) as market
"""
_ADOPT = """
select market.id, zmartd.adopt_metadata(market.id) as changed
  from markets as market
  join market_metadata as registered
    on registered.market_id = market.id and registered.creator_wallet = market.creator_wallet
   and registered.cid = market.ipfs_question_hash
 where market.id = any($1::text[])
"""


class PendingMarketsDetails(Struct, frozen=True):
    """How many markets of one wallet may wait for their creation on the chain."""

    limit: int
    """The most of them."""


class PendingTextsDetails(Struct, frozen=True):
    """How large the texts of one wallet's markets may be that wait for their creation on the chain."""

    limit_bytes: int
    """The most bytes of all of them together."""
    pending_bytes: int
    """The bytes of those that there are."""
    document_bytes: int
    """The bytes of the one that was refused."""


class SimilarMarket(Struct, frozen=True):
    """The open market that asks the same question."""

    market_id: MarketKey
    question: str
    """Its question."""
    state: StateName | None
    """Its state; null while it is not on the chain yet."""
    pending: bool
    """Whether it is not on the chain yet."""


class TooManyPendingMarkets(DetailedError[PendingMarketsDetails]):
    """This wallet has registered as many markets as it may that are not on the chain: create one of them."""

    code = "too_many_pending_markets"


class PendingTextsTooLarge(DetailedError[PendingTextsDetails]):
    """The texts of this wallet's markets that are not on the chain would be larger than they may be: create
    one of those markets, or write shorter texts.
    """

    code = "pending_texts_too_large"


class SimilarMarketExists(DetailedError[SimilarMarket]):
    """Another open market asks the same question; join it, or set allow_similar to true to register yours."""

    code = "similar_market_exists"


class MarketMetadata(Struct, frozen=True):
    """A market's texts, and the terms on which its creator intends to create it."""

    market_id: str
    creator_wallet: str
    on_chain_address: str
    question: str
    description: str
    category: str
    tags: tuple[str, ...]
    end_date: datetime
    cid: str
    document: bytes
    """The exact bytes that `cid` is the content id of."""
    b_parameter: int
    """Fixed point with nine decimals."""
    initial_liquidity: int
    """Lamports."""
    image_url: str | None = None


class PendingLimits(Struct, frozen=True):
    """What one wallet may have registered that is not on the chain: so many markets, and bytes of texts."""

    markets: int
    bytes: int


class Registration(Struct, frozen=True, kw_only=True):
    """The registered metadata, and whether this call registered it."""

    metadata: MarketMetadata
    created_at: datetime
    slug: str | None
    """The market's name in URLs; None before it has been on the chain."""
    is_paused: bool
    """Whether the program refuses new markets, as it is indexed."""
    is_new: bool


async def register(
    connection: Connection,
    metadata: MarketMetadata,
    limits: PendingLimits | None,
    *,
    no_twin_at: datetime | None = None,
) -> Registration:
    """Register metadata, unless this creator has registered metadata for this market; then that stays.

    Compare `cid` to see whether it is the same document. `limits` is None for a market that is on the chain.
    A market that is indexed gets the texts. Takes a transaction of the creator, of which the rest is the
    daemon's own. Raises TooManyPendingMarkets or PendingTextsTooLarge when, with this
    one, more of this creator would not be on the chain than `limits` says, and, where the chain's time
    `no_twin_at` is given, SimilarMarketExists when a market asks the same that ends later. Of registrations
    at the same time that ask the same, one is the first.
    """
    if limits is not None:
        # A statement of its own: the next ones must see what the last holder of the lock wrote.
        await connection.execute(_LOCK_CREATOR, metadata.creator_wallet)
    registration = await _registered(connection, metadata, limits, no_twin_at)
    await connection.execute(ACT_AS_SERVICE)
    await adopt(connection, [metadata.market_id])
    return registration


async def _registered(
    connection: Connection,
    metadata: MarketMetadata,
    limits: PendingLimits | None,
    no_twin_at: datetime | None,
) -> Registration:
    own = await connection.fetchrow(_OWN, metadata.market_id, metadata.creator_wallet)
    if own is not None:
        return _registration(own)
    alike = likeness(metadata.question)
    if limits is not None:
        await _require_place(connection, metadata, limits)
    # Also taken by who insists, so that whoever comes next sees this question.
    await connection.execute(_LOCK_QUESTIONS)
    if no_twin_at is not None:
        similar = await connection.fetchrow(
            _SIMILAR, metadata.market_id, metadata.creator_wallet, alike, no_twin_at
        )
        if similar is not None:
            raise SimilarMarketExists(SimilarMarket(**similar))
    is_new = await connection.fetchval(
        _REGISTER,
        metadata.market_id,
        metadata.creator_wallet,
        metadata.on_chain_address,
        metadata.question,
        metadata.description,
        metadata.category,
        metadata.tags,
        metadata.end_date,
        metadata.cid,
        metadata.document,
        metadata.b_parameter,
        metadata.initial_liquidity,
        alike,
        metadata.image_url,
        slug_base(metadata.question),
    )
    row = await connection.fetchrow(_OWN, metadata.market_id, metadata.creator_wallet)
    assert row is not None, "a row that was just inserted or was there before"
    return _registration(row, is_new=bool(is_new))


async def find(connection: Reads, reference: str) -> Registration | None:
    """The first registration for the id or address of a market that is not on the chain yet."""
    row = await connection.fetchrow(_FIND, reference)
    return None if row is None else _registration(row)


async def add_likenesses(connection: Connection) -> bool:
    """Compute what up to a thousand registrations of earlier versions lack. False when nothing was left.

    Takes a service transaction.
    """
    rows = await connection.fetch(_WITHOUT_LIKENESS)
    alike = [likeness(row["question"]) for row in rows]
    await connection.execute(
        _SET_LIKENESS,
        [row["market_id"] for row in rows],
        [row["creator_wallet"] for row in rows],
        [written for written, _ in alike],
        [in_any_case for _, in_any_case in alike],
    )
    return bool(rows)


async def registered_cids(connection: Reads, wallet: str, addresses: Collection[str]) -> dict[str, str]:
    """The content ids of what a wallet registered about the markets at these addresses, by address.

    Any caller may read them.
    """
    rows = await connection.fetch(_CIDS, wallet, list(addresses))
    return {row["on_chain_address"]: row["cid"] for row in rows}


async def adopt(connection: Connection, market_ids: Sequence[str]) -> frozenset[str]:
    """Copy the texts that creators registered to the rows of their markets, and name these markets. Returns
    the ids of those that changed.

    Texts of another content id than that on the chain stay out: they are not what their creator put there.
    Who registers texts and who applies the creation of their market both do this, until the end of their
    transactions one after the other: the later one sees both. Takes a service transaction.
    """
    await connection.execute(_LOCK_MARKETS, market_ids)
    await connection.execute(_LOCK_TEXTS, market_ids)
    return frozenset(row["id"] for row in await connection.fetch(_ADOPT, market_ids) if row["changed"])


async def find_by_slug(connection: Reads, slug: str) -> str | None:
    """The id of the market with this slug. A market that another wallet created has not the slug."""
    market_id: str | None = await connection.fetchval(BY_SLUG, slug)
    return market_id


async def resolution_texts(connection: Reads, market_id: str) -> ResolutionTexts:
    """How a market is resolved, as its creator registered it."""
    return texts_of(await connection.fetchval(_SHOWN_DOCUMENT_OF, market_id))


def texts_of(document: bytes | None) -> ResolutionTexts:
    """The texts in the document that SHOWN_DOCUMENT finds, or none."""
    return ResolutionTexts() if document is None else ResolutionTexts.of(document)


async def add_slugs(connection: Connection) -> bool:
    """Name the markets of up to a thousand registrations of earlier versions. False when nothing was left.

    Takes a service transaction.
    """
    rows = await connection.fetch(_WITHOUT_SLUG)
    market_ids = [row["market_id"] for row in rows]
    creators = [row["creator_wallet"] for row in rows]
    bases = [slug_base(row["question"]) for row in rows]
    await connection.execute(_SET_SLUG_BASE, market_ids, creators, bases)
    await connection.execute(_NAME, market_ids)
    return bool(rows)


async def _require_place(connection: Connection, metadata: MarketMetadata, limits: PendingLimits) -> None:
    """Raises TooManyPendingMarkets, PendingTextsTooLarge."""
    pending = await connection.fetchrow(_PENDING, metadata.creator_wallet)
    assert pending is not None, "a row of sums"
    if pending["markets"] >= limits.markets:
        raise TooManyPendingMarkets(PendingMarketsDetails(limits.markets))
    size = len(metadata.document)
    if pending["bytes"] + size > limits.bytes:
        raise PendingTextsTooLarge(PendingTextsDetails(limits.bytes, int(pending["bytes"]), size))


def _registration(row: Record, *, is_new: bool = False) -> Registration:
    fields = {name: row[name] for name in MarketMetadata.__struct_fields__}
    fields["tags"] = tuple(fields["tags"])
    return Registration(
        metadata=MarketMetadata(**fields),
        created_at=row["created_at"],
        slug=row["slug"],
        is_paused=row["is_paused"],
        is_new=is_new,
    )
