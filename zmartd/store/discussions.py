"""Comments on markets, and replies to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import Connection, Record
from msgspec import UNSET, Struct, UnsetType

from zmartd.errors import DetailedError
from zmartd.store.keyset import CountedPage, counted_page_of, from_micros, to_micros, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, Caller

EDIT_WINDOW: Final = timedelta(minutes=15)
"""How long an author can edit a comment."""
REPEAT_WINDOW: Final = timedelta(minutes=5)
"""A comment that its author sends again, to the same parent and within this time, is the same comment, also
under another Idempotency-Key or without one."""
THREADS: Final = "none"
"""The `parent` of a list of threads: comments that reply to no other one."""
MOST_NESTED: Final = 5
"""How deep replies can be nested; sql/0011_discussion_threads.sql enforces it."""

_NO_PARENT, _TOO_DEEP = "ZM011", "ZM012"
_WHOLE_WALLETS = """
select id, market_id, case when deleted_at is null then user_wallet end as author, parent_id,
       cardinality(ancestors) as depth, content, created_at, edited_at, deleted_at,
       (select count(*) from discussions as reply
         where reply.ancestors @> array[comment.id] and reply.deleted_at is null) as replies
  from discussions as comment
"""
_COLUMNS = {
    ANONYMOUS: _WHOLE_WALLETS.replace("user_wallet", "user_masked"),
    AUTHENTICATED: _WHOLE_WALLETS,
}
# Counted, though one is enough: to find one, Postgres would read through the table instead of the index.
_SHOWN = """
 and (deleted_at is null
      or (select count(*) from discussions as reply
           where reply.ancestors @> array[comment.id] and reply.deleted_at is null) > 0)
"""
_NEWEST_FIRST = "order by created_at desc, id desc"
_OLDEST_FIRST = "order by created_at, id"
_AFTER = {
    _NEWEST_FIRST: " and ($2::timestamptz is null or (created_at, id) < ($2, $3::uuid)) ",
    _OLDEST_FIRST: " and ($2::timestamptz is null or (created_at, id) > ($2, $3::uuid)) ",
}
_OF_MARKET = "market_id = $1"
_THREADS = "market_id = $1 and parent_id is null"
_REPLIES = "market_id = $1 and parent_id = $6"
# How many live comments there are, and how many deleted ones they are replies to; both are in indexes.
_TOTAL = """
((select count(*) from discussions where {where} and deleted_at is null)
 + (select count(*) from discussions
     where {where} and deleted_at is not null
       and id in (select unnest(ancestors) from discussions
                   where market_id = $1 and parent_id is not null and deleted_at is null)))
"""
_BELOW = "where ancestors && $1::uuid[]" + _SHOWN + "order by created_at, id limit $2"
_FIND = "where id = $1"
_LOCK_AUTHOR = "select pg_advisory_xact_lock(hashtextextended('comments:' || $1, 7))"
_REPEATED = """
where market_id = $1 and user_wallet = $2 and parent_id is not distinct from $3 and content = $4
  and deleted_at is null and created_at > now() - $5::interval
order by created_at desc limit 1
"""
_WRITE = """
insert into discussions (market_id, user_wallet, parent_id, content) values ($1, $2, $3, $4) returning id
"""
_EDIT = """
update discussions set content = $3
 where id = $1 and user_wallet = $2 and deleted_at is null and created_at > now() - $4::interval
"""
_DELETE = """
update discussions set deleted_at = now() where id = $1 and user_wallet = $2 and deleted_at is null
returning deleted_at
"""


class CommentDetails(Struct, frozen=True):
    """The comment that an error is about."""

    comment_id: str | UnsetType = UNSET
    """The comment's id, a UUID; left out where what was given is none."""


class ParentDetails(Struct, frozen=True):
    """The comment that was to be replied to."""

    parent_id: str
    """The comment's id, a UUID."""


class DepthDetails(Struct, frozen=True):
    """How deep a thread goes."""

    parent_id: str
    """The id of the comment that was to be replied to, a UUID."""
    most_nested: int
    """The most replies that stand one below another."""


class EditDetails(Struct, frozen=True):
    """How long a comment can be changed."""

    comment_id: str
    """The comment's id, a UUID."""
    minutes: int
    """For how many minutes after it was written a comment can be changed."""


class CommentNotFound(DetailedError[CommentDetails]):
    """There is no such comment, or it was deleted; GET /api/discussions/{id} lists those of a market."""

    code = "comment_not_found"


class ParentNotFound(DetailedError[ParentDetails]):
    """There is no such comment in this market to reply to, or it was deleted; reply to another one."""

    code = "parent_not_found"


class ThreadTooDeep(DetailedError[DepthDetails]):
    """Replies cannot be nested any deeper; reply to a comment further up."""

    code = "thread_too_deep"


class NotTheAuthor(DetailedError[CommentDetails]):
    """Only the wallet that wrote a comment may change or delete it; sign in with that one."""

    code = "not_the_author"


class EditWindowClosed(DetailedError[EditDetails]):
    """This comment is too old to be changed; delete it, or write another one."""

    code = "edit_window_closed"


class Comment(Struct, frozen=True):
    """One comment. A deleted one has neither author nor content, and is listed only while it has replies."""

    id: UUID
    market_id: str
    author: str | None
    """The wallet, shortened for anonymous callers."""
    parent_id: UUID | None
    depth: int
    """0 for a comment on the market itself."""
    content: str | None
    created_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    replies: int
    """How many replies it has, at any depth."""


class CommentFilter(Struct, frozen=True):
    """Which comments to list: all of a market, its threads, or the direct replies to a comment.

    Replies are listed oldest first, everything else newest first.
    """

    market_id: str
    parent: str | None = None
    """A comment's id, `THREADS`, or None for all comments."""

    def has(self, key: CommentPageKey) -> bool:
        """Whether `key` belongs to this list."""
        return (key.market_id, key.parent) == (self.market_id, self.parent)


class CommentPageKey(Struct, frozen=True, tag="comments/1"):
    """A page begins after this comment of a list. Raises ValueError for an invalid time."""

    market_id: str
    parent: str | None
    """The `parent` of the list's filter."""
    micros: int
    """When the comment was written, in microseconds since 1970."""
    id: UUID

    def __post_init__(self) -> None:
        from_micros(self.micros)


class WrittenComment(Struct, frozen=True):
    """A comment, and whether it is new or was written before and sent again."""

    comment: Comment
    new: bool


async def page(
    connection: Reads,
    caller: Caller,
    where: CommentFilter,
    limit: int,
    *,
    offset: int = 0,
    after: CommentPageKey | None = None,
) -> CountedPage[Comment, CommentPageKey]:
    """A page of a list, from `offset` on or after the key `after`, which must belong to that list.

    Takes a transaction or reader of `caller`.
    """
    key = (None, None) if after is None else (from_micros(after.micros), after.id)
    arguments: list[Any] = [where.market_id, *key, limit + 1, offset]
    if where.parent is None:
        which, order = _OF_MARKET, _NEWEST_FIRST
    elif where.parent == THREADS:
        which, order = _THREADS, _NEWEST_FIRST
    else:
        which, order = _REPLIES, _OLDEST_FIRST
        arguments.append(UUID(where.parent))
    page_query = f"{_COLUMNS[caller.role]} where {which} {_SHOWN} {_AFTER[order]} {order} limit $4 offset $5"
    query = with_total(_TOTAL.format(where=which), page_query, order)
    rows = await connection.fetch(query, *arguments)

    def key_of(comment: Comment) -> CommentPageKey:
        return CommentPageKey(where.market_id, where.parent, to_micros(comment.created_at), comment.id)

    return counted_page_of(rows, limit, lambda row: Comment(**row), key_of)


async def below(connection: Reads, caller: Caller, roots: Sequence[UUID], limit: int) -> tuple[Comment, ...]:
    """All replies to the comments `roots`, at any depth, oldest first. Takes a transaction of `caller`."""
    return _comments(await connection.fetch(_COLUMNS[caller.role] + _BELOW, list(roots), limit))


async def write(
    connection: Connection, wallet: str, market_id: str, parent: UUID | None, content: str
) -> WrittenComment:
    """Write a comment, unless its author has just written the same one.

    Takes a transaction of the wallet. Raises ParentNotFound, ThreadTooDeep.
    """
    await connection.execute(_LOCK_AUTHOR, wallet)
    row = await connection.fetchrow(
        _WHOLE_WALLETS + _REPEATED, market_id, wallet, parent, content, REPEAT_WINDOW
    )
    if row is not None:
        return WrittenComment(_comment(row), new=False)
    try:
        comment_id = await connection.fetchval(_WRITE, market_id, wallet, parent, content)
    except asyncpg.PostgresError as error:
        if error.sqlstate == _NO_PARENT:
            raise ParentNotFound(ParentDetails(str(parent))) from error
        if error.sqlstate == _TOO_DEEP:
            raise ThreadTooDeep(DepthDetails(str(parent), MOST_NESTED)) from error
        raise
    return WrittenComment(await _get(connection, comment_id), new=True)


async def edit(
    connection: Connection, wallet: str, comment_id: UUID, content: str, window: timedelta = EDIT_WINDOW
) -> Comment:
    """Replace the content of a comment that is younger than `window`.

    Takes a transaction of the wallet. Raises CommentNotFound, NotTheAuthor, EditWindowClosed.
    """
    done = await connection.execute(_EDIT, comment_id, wallet, content, window)
    comment = await _own(connection, wallet, comment_id)
    if done == "UPDATE 0":
        raise EditWindowClosed(EditDetails(str(comment_id), int(window.total_seconds() // 60)))
    return comment


async def delete(connection: Connection, wallet: str, comment_id: UUID) -> Comment:
    """Delete a comment, and return it without author and content.

    Takes a transaction of the wallet. Raises CommentNotFound, NotTheAuthor.
    """
    comment = await _own(connection, wallet, comment_id)
    deleted_at = await connection.fetchval(_DELETE, comment_id, wallet)
    if deleted_at is None:
        raise CommentNotFound(CommentDetails(str(comment_id)))
    return msgspec.structs.replace(comment, author=None, content=None, deleted_at=deleted_at)


async def _own(connection: Reads, wallet: str, comment_id: UUID) -> Comment:
    comment = await _get(connection, comment_id)
    if comment.author != wallet:
        raise NotTheAuthor(CommentDetails(str(comment_id)))
    return comment


async def _get(connection: Reads, comment_id: UUID) -> Comment:
    row = await connection.fetchrow(_WHOLE_WALLETS + _FIND, comment_id)
    if row is None or row["deleted_at"] is not None:
        raise CommentNotFound(CommentDetails(str(comment_id)))
    return _comment(row)


def _comments(rows: Sequence[Record]) -> tuple[Comment, ...]:
    return tuple(_comment(row) for row in rows)


def _comment(row: Record) -> Comment:
    return Comment(**dict(row))
