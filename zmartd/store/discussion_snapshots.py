"""Snapshots of discussions: which markets need one, the documents, and which was true of which day."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from asyncpg import Connection
from msgspec import Struct

from zmartd.market.discussion_snapshot import DiscussionSnapshot, SnapshotComment
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.store.evidence import DocumentDetails, DocumentNotFound
from zmartd.store.postgres.reader import Reads

STATES: Final = ("ACTIVE", "RESOLVING", "DISPUTED", "FINALIZED")
"""A finalized market's last comments belong to its record, and it may get more."""
BYTES_OF_A_COMMENT: Final = 250
"""About what a comment takes in a document besides its text."""

# What is written at a time may be seen after a later time was read, by as long as a transaction takes: 10
# minutes are plenty. A comment may be edited for 15 minutes, so the younger half hour is looked at again.
_DUE = """
select market.id
  from markets as market
  left join lateral (
      select anchor.snapshot_date, anchor.read_at from ipfs_anchors as anchor
       where anchor.market_id = market.id order by anchor.snapshot_date desc limit 1) as newest on true
 where market.state = any($3::zmartd.market_state[])
   and case when newest.snapshot_date is null then
           exists (select from discussions as comment
                    where comment.market_id = market.id and comment.created_at < $1
                      and comment.deleted_at is null)
       else newest.snapshot_date < $2
           and (exists (select from discussions as comment
                         where comment.market_id = market.id and comment.created_at < $1
                           and comment.created_at >= least(
                               (newest.snapshot_date + 1)::timestamp at time zone 'UTC', newest.read_at)
                               - interval '30 minutes')
                or exists (select from discussions as comment
                            where comment.market_id = market.id
                              and comment.deleted_at >= newest.read_at - interval '10 minutes'))
       end
 order by exists (select from ipfs_documents as tried
                   where tried.market_id = market.id and tried.pinned_at is null),
          newest.snapshot_date nulls first, market.id
"""
_MEASURE = """
select now() as read_at, count(*) as comments, coalesce(sum(octet_length(content)), 0)::bigint as bytes
  from discussions where market_id = $1 and created_at < $2 and deleted_at is null
"""
_COMMENTS = """
select id, user_masked, parent_id, content, created_at, edited_at from discussions
 where market_id = $1 and created_at < $2 and deleted_at is null
 order by created_at, id
"""
_FORGET_SUPERSEDED = """
delete from ipfs_documents where market_id = $1 and cid <> $2 and pinned_at is null
"""
_SAVE = """
insert into ipfs_documents as known (cid, market_id, content, size, discussions_count)
values ($1, $2, $3, $4, $5)
on conflict (cid) do update set content = excluded.content
returning pin_request, pinned_at is not null as is_pinned
"""
_REMEMBER = "update ipfs_documents set pin_request = $2 where cid = $1 and pinned_at is null"
_PINNED = """
update ipfs_documents set pinned_at = coalesce(pinned_at, now()), pin_request = null where cid = $1
returning discussions_count
"""
_ANCHOR = """
insert into ipfs_anchors as known (market_id, ipfs_hash, discussions_count, snapshot_date, read_at)
values ($1, $2, $3, $4, $5)
on conflict (market_id, snapshot_date) do update
   set ipfs_hash = excluded.ipfs_hash, discussions_count = excluded.discussions_count,
       read_at = excluded.read_at
 where known.read_at <= excluded.read_at
"""
_POINT = """
update markets set discussion_snapshot_cid = newest.ipfs_hash
  from (select ipfs_hash from ipfs_anchors where market_id = $1 order by snapshot_date desc limit 1) as newest
 where id = $1 and discussion_snapshot_cid is distinct from newest.ipfs_hash
"""
_SIZE = "select size from ipfs_documents where cid = $1 and pinned_at is not null"
_CONTENT = "select content from ipfs_documents where cid = $1 and pinned_at is not null"
_PURGE_ANCHORS = """
with chosen as materialized (
    select id from ipfs_anchors where snapshot_date < $1 order by snapshot_date limit $2)
delete from ipfs_anchors where id in (select id from chosen)
"""
_PURGE_CONTENT = """
with chosen as materialized (
    select document.cid from ipfs_documents as document
     where document.content is not null and document.pinned_at < $1
       and not exists (select from ipfs_anchors as anchor where anchor.ipfs_hash = document.cid)
       and not exists (select from markets as market
                        where market.id = document.market_id
                          and market.discussion_snapshot_cid = document.cid)
     order by document.pinned_at limit $2)
update ipfs_documents set content = null where cid in (select cid from chosen)
"""


class SnapshotTooLarge(Struct, frozen=True):
    """A discussion that makes too large a document."""

    comments: int
    bytes: int
    """About."""


class ReadComments(Struct, frozen=True):
    """The comments on a market, and when they were read by the database's clock."""

    snapshot: DiscussionSnapshot
    read_at: datetime


class Taken(Struct, frozen=True, kw_only=True):
    """A snapshot without its content."""

    market_id: str
    cid: str
    day: date
    """The last day (UTC) that it covers."""
    read_at: datetime
    """When the comments were read, by the database's clock."""


class Saved(Struct, frozen=True):
    """What is known of a document."""

    is_pinned: bool
    pin_request: str | None
    """What the pinning service calls the request of an earlier run."""


async def due(connection: Reads, before: datetime, day: date) -> list[str]:
    """The markets that need a snapshot of `day`, which ends at `before`: those whose comments have changed
    since their last one, and have none of that day. Those with a document that could not be pinned come
    last, so that they hold nobody up; the others by how long they have waited. Takes a service reader.
    """
    return [row["id"] for row in await connection.fetch(_DUE, before, day, list(STATES))]


async def read(
    connection: Connection, market_id: str, before: datetime, max_bytes: int
) -> ReadComments | SnapshotTooLarge:
    """The comments on a market from before a time that are not deleted. Takes a service transaction."""
    measured = await connection.fetchrow(_MEASURE, market_id, before)
    assert measured is not None
    expected = measured["bytes"] + measured["comments"] * BYTES_OF_A_COMMENT
    if expected > max_bytes:
        return SnapshotTooLarge(measured["comments"], expected)
    rows = await connection.fetch(_COMMENTS, market_id, before)
    comments = tuple(
        SnapshotComment(
            id=str(row["id"]),
            user_wallet=row["user_masked"],
            parent_id=None if row["parent_id"] is None else str(row["parent_id"]),
            content=row["content"],
            created_at=iso_time(row["created_at"]),
            edited_at=iso_time_or_none(row["edited_at"]),
        )
        for row in rows
    )
    snapshot = DiscussionSnapshot(market_id=market_id, discussions_count=len(comments), discussions=comments)
    return ReadComments(snapshot, measured["read_at"])


async def save(connection: Connection, market_id: str, cid: str, content: bytes, comments: int) -> Saved:
    """Keep a document before it is pinned, in the place of the market's others that are not.

    Takes a service transaction.
    """
    await connection.execute(_FORGET_SUPERSEDED, market_id, cid)
    row = await connection.fetchrow(_SAVE, cid, market_id, content, len(content), comments)
    assert row is not None
    return Saved(row["is_pinned"], row["pin_request"])


async def remember_request(connection: Connection, cid: str, pin_request: str | None) -> None:
    """Keep what the pinning service calls its request for a document. Takes a service transaction."""
    await connection.execute(_REMEMBER, cid, pin_request)


async def record(connection: Connection, taken: Taken) -> bool:
    """Record that a document is pinned, that it was true of its day, and for the market, unless that has a
    newer one. False where a later run has put another document in its place meanwhile: nothing is recorded.

    Takes a service transaction, which makes it all one step.
    """
    comments = await connection.fetchval(_PINNED, taken.cid)
    if comments is None:
        return False
    await connection.execute(_ANCHOR, taken.market_id, taken.cid, comments, taken.day, taken.read_at)
    await connection.execute(_POINT, taken.market_id)
    return True


async def size(connection: Reads, cid: str) -> int:
    """The bytes of the pinned document with this content id. Any caller may read it.

    Raises DocumentNotFound.
    """
    found: int | None = await connection.fetchval(_SIZE, cid)
    if found is None:
        raise DocumentNotFound(DocumentDetails(cid))
    return found


async def content(connection: Reads, cid: str) -> bytes | None:
    """The pinned document itself; None where it is kept elsewhere only. Any caller may read it."""
    found: bytes | None = await connection.fetchval(_CONTENT, cid)
    return found


async def purge(connection: Connection, before: date, limit: int) -> int:
    """Delete anchors of days before `before`, at most `limit`; how many. Takes a service transaction."""
    done: str = await connection.execute(_PURGE_ANCHORS, before, limit)
    return int(done.removeprefix("DELETE "))


async def purge_content(connection: Connection, before: datetime, limit: int) -> int:
    """Drop the bytes of documents that were pinned before `before`, which no anchor and no market names; at
    most `limit`; how many. Takes a service transaction.
    """
    done: str = await connection.execute(_PURGE_CONTENT, before, limit)
    return int(done.removeprefix("UPDATE "))
