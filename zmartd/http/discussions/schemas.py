"""Requests and responses of discussions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from msgspec import Meta, Struct

from zmartd.errors import ZmartdError
from zmartd.http.kit import earlier_answers
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Field, MarketKey, MarketRef, ServerTime, Text
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, Offset, PageLength, encode_cursor
from zmartd.http.kit.path_variables import PathVariable
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.store.discussions import (
    EDIT_WINDOW,
    THREADS,
    Comment,
    CommentDetails,
    CommentNotFound,
    CommentPageKey,
)
from zmartd.store.keyset import to_micros


class CommentText(Text):
    """The text of a comment."""

    min_length: ClassVar[int] = 1
    max_length: ClassVar[int] = 1_000


class CommentId(Field, str):
    """The id of a comment."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "format": "uuid"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) != 36:
            raise ValueError("not a comment's id")
        return cls(UUID(raw))


def _no_comment() -> ZmartdError:
    return CommentNotFound(
        CommentDetails(), "A comment is named by its id, a UUID; take it from GET /api/discussions/{id}."
    )


COMMENT = PathVariable(CommentId, "the id of a comment", _no_comment)


class ParentFilter(CommentId):
    """The id of a comment, or THREADS for the comments on the market itself."""

    schema: ClassVar[dict[str, Any]] = {"oneOf": [{"const": THREADS}, CommentId.schema]}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        return cls(raw) if raw == THREADS else super().parse(raw)


Content = Annotated[
    CommentText, Meta(description="a text of 1 to 1000 characters, without control characters")
]
Parent = Annotated[CommentId | None, Meta(description="the id of the comment that this is a reply to")]


class NewComment(Struct, frozen=True, kw_only=True):
    """A comment on the market in the path."""

    content: Content
    """What the comment says."""
    parent_id: Parent = None
    """Left out, or null, for a comment on the market itself."""


class NewMarketComment(NewComment, frozen=True, kw_only=True):
    """A comment on the market `market_id`."""

    market_id: Annotated[MarketRef, Meta(description="a market's id, 64 hexadecimal digits, or address")]


class CommentsQuery(Struct, frozen=True, kw_only=True):
    """All comments, newest first; with `parent_id` the direct replies to that comment, oldest first."""

    parent_id: Annotated[
        ParentFilter | None,
        Meta(description="a comment's id, or none for comments on the market itself"),
    ] = None
    """Only the replies to this comment."""
    limit: Limit = 50
    offset: Offset = None
    cursor: NextCursor = None


class ThreadsQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 50
    offset: Offset = None
    cursor: NextCursor = None


class CommentBody(Struct, frozen=True, kw_only=True):
    """One comment. A deleted comment is shown only while it has replies, without author and content."""

    id: str
    """The comment's id, a UUID."""
    market_id: MarketKey
    user_wallet: Annotated[
        str | None,
        Meta(description="the author's address; shortened for anonymous callers; null when deleted"),
    ]
    parent_id: str | None
    """The id of the comment that this is a reply to; null for a comment on the market itself."""
    depth: Annotated[
        int, Meta(description="the number of comments above this one: 0 for a comment on the market itself")
    ]
    content: Annotated[str | None, Meta(description="null when deleted")]
    replies_count: Annotated[int, Meta(description="the number of replies at any depth")]
    created_at: ServerTime
    """When the comment was written."""
    editable_until: ServerTime
    """Until when the author can change the comment."""
    edited_at: ServerTime | None
    """When the comment was last changed; null where it never was."""
    deleted_at: ServerTime | None
    """When the comment was deleted; null where it was not."""
    discussion_id: Annotated[str, DEPRECATED]
    """The same as id."""
    wallet: Annotated[str | None, DEPRECATED]
    """The same as user_wallet."""
    upvotes: Annotated[Literal[0], DEPRECATED]
    """Always 0: there are no votes on comments."""


class EditedComment(Struct, frozen=True, kw_only=True):
    READ_ONLY: ClassVar[tuple[str, ...]] = CommentBody.__struct_fields__

    content: Content
    """What the comment says from now on."""


class CommentList(Struct, frozen=True, kw_only=True):
    """A page of comments; `count` is its length."""

    discussions: tuple[CommentBody, ...]
    """The comments of this page."""
    count: PageLength
    total: int
    """The number of comments that are shown, on all pages."""
    market_id: MarketKey
    snapshot_cid: str | None
    """The IPFS content id of the newest snapshot of the discussion, which is at
    `/api/discussions/ipfs/{cid}`; null where there is none."""
    next_cursor: NextPage


class CommentResult(Struct, frozen=True):
    """The result of writing or changing a comment."""

    message: str
    """What was done, for people."""
    discussion: CommentBody
    """The comment as it is now."""


class CommentDeleted(Struct, frozen=True):
    message: str
    """What was done, for people."""


class ThreadBody(Struct, frozen=True, rename="camel", kw_only=True):
    """A comment with the replies at any depth, under the frontend's names."""

    id: str
    """The comment's id, a UUID."""
    market_id: MarketKey
    author: str | None
    """The author's address; shortened for anonymous callers; null when deleted."""
    content: str | None
    """The comment's text; null when deleted."""
    parent_id: str | None
    """The id of the comment that this is a reply to; null for a comment on the market itself."""
    created_at: ServerTime
    """When the comment was written."""
    upvotes: Literal[0] = 0
    """Always 0: there are no votes on comments. Frontends expect the field."""
    downvotes: Literal[0] = 0
    """Always 0, like upvotes."""
    is_flagged: Literal[False] = False
    """Always false: comments cannot be flagged."""
    replies_count: Annotated[
        int, Meta(description="the number of replies at any depth, including those not in `replies`")
    ]
    replies: tuple[ThreadBody, ...]
    """Direct replies, each with its own, oldest first."""
    replies_cursor: str | None
    """The `cursor` for the replies that are missing here, of `GET /api/discussions/{id}` with this comment as
    `parent_id`; null where none are missing."""


def comment_body(comment: Comment) -> CommentBody:
    """The JSON of a comment."""
    return CommentBody(
        id=str(comment.id),
        market_id=comment.market_id,
        user_wallet=comment.author,
        parent_id=_id(comment.parent_id),
        depth=comment.depth,
        content=comment.content,
        replies_count=comment.replies,
        created_at=iso_time(comment.created_at),
        editable_until=iso_time(comment.created_at + EDIT_WINDOW),
        edited_at=iso_time_or_none(comment.edited_at),
        deleted_at=iso_time_or_none(comment.deleted_at),
        **earlier_answers.of_a_comment(str(comment.id), comment.author),
    )


class Replies(Struct, frozen=True):
    """The replies to some comments at any depth, oldest first, up to a maximum number."""

    by_parent: Mapping[UUID | None, Sequence[Comment]]
    """The replies by the id of their parent."""
    last: Comment | None
    """The last reply that was read, where there are more; None where these are all."""


NO_REPLIES = Replies({}, None)


def thread_body(comment: Comment, found: Replies) -> ThreadBody:
    """The JSON of a comment with those of the replies `found` that are below it."""
    replies = tuple(thread_body(reply, found) for reply in found.by_parent.get(comment.id, ()))
    return ThreadBody(
        id=str(comment.id),
        market_id=comment.market_id,
        author=comment.author,
        content=comment.content,
        parent_id=_id(comment.parent_id),
        created_at=iso_time(comment.created_at),
        replies_count=comment.replies,
        replies=replies,
        replies_cursor=_replies_cursor(comment, replies, found.last),
    )


def _replies_cursor(comment: Comment, replies: Sequence[ThreadBody], last: Comment | None) -> str | None:
    """Replies are read by time across all threads, so those that are missing are later than `last`."""
    if last is None or sum(map(_count_comments, replies)) >= comment.replies:
        return None
    key = CommentPageKey(comment.market_id, str(comment.id), to_micros(last.created_at), last.id)
    return encode_cursor(key)


def _count_comments(thread: ThreadBody) -> int:
    """The number of comments in a thread that are not deleted."""
    return (thread.content is not None) + sum(map(_count_comments, thread.replies))


def _id(comment_id: UUID | None) -> str | None:
    return None if comment_id is None else str(comment_id)
