"""What goes into and comes out of discussions."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from msgspec import Meta, Struct

from zmartd.errors import ZmartdError
from zmartd.http.kit.fields import Field, MarketKey, MarketRef, Text, Time
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, Offset, PageLength, cursor_of
from zmartd.http.kit.path_variables import PathVariable
from zmartd.market.iso_time import iso_time
from zmartd.store.discussions import EDIT_WINDOW, THREADS, Comment, CommentNotFound, CommentPageKey
from zmartd.store.keyset import to_micros


class Words(Text):
    """What somebody says. Something of it has to be visible."""

    shortest: ClassVar[int] = 1
    longest: ClassVar[int] = 1_000

    @classmethod
    def parse(cls, raw: Any) -> Self:
        text = super().parse(raw)
        if all(unicodedata.category(one)[0] in "CZ" for one in text):
            raise ValueError("nothing to be seen")
        return text


class CommentId(Field, str):
    """The id of a comment."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "format": "uuid"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) != 36:
            raise ValueError("not a comment's id")
        return cls(UUID(raw))


def _no_comment() -> ZmartdError:
    return CommentNotFound("A comment is named by its id, a UUID.")


COMMENT = PathVariable(CommentId, "the id of a comment", _no_comment)


class TopLevelOrId(CommentId):
    """A comment by its id, or the market itself."""

    schema: ClassVar[dict[str, Any]] = {"oneOf": [{"const": THREADS}, CommentId.schema]}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        return cls(raw) if raw == THREADS else super().parse(raw)


Content = Annotated[Words, Meta(description="a text of 1 to 1000 characters, without control characters")]
Parent = Annotated[CommentId | None, Meta(description="the id of the comment that this is a reply to")]


class NewComment(Struct, frozen=True, kw_only=True):
    """A comment on the market in the path."""

    content: Content
    parent_id: Parent = None


class NewMarketComment(NewComment, frozen=True, kw_only=True):
    """A comment on the market `market_id`."""

    market_id: Annotated[MarketRef, Meta(description="a market's id or address")]


class EditedComment(Struct, frozen=True, kw_only=True):
    content: Content


class CommentsQuery(Struct, frozen=True, kw_only=True):
    """Without `parent_id` all comments, newest first; of one comment its direct replies, oldest first."""

    parent_id: Annotated[
        TopLevelOrId | None,
        Meta(description="a comment's id, or none for comments on the market itself"),
    ] = None
    limit: Limit = 50
    offset: Offset = 0
    cursor: NextCursor = None


class ThreadsQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 50
    offset: Offset = 0
    cursor: NextCursor = None


class CommentBody(Struct, frozen=True, kw_only=True):
    """One comment. A deleted one is shown only while it has replies, without author and content."""

    id: str
    """The comment's id, a UUID."""
    discussion_id: str
    """The same as id, under the frontend's name for it."""
    market_id: MarketKey
    user_wallet: Annotated[
        str | None, Meta(description="shortened for callers who have not signed in; null when deleted")
    ]
    wallet: str | None
    """The same as user_wallet, under the frontend's name for it."""
    parent_id: str | None
    """The id of the comment that this is a reply to; null for a comment on the market itself."""
    depth: Annotated[int, Meta(description="0 for a comment on the market itself")]
    content: Annotated[str | None, Meta(description="null when deleted")]
    replies_count: Annotated[int, Meta(description="comments below this one, at any depth")]
    upvotes: Literal[0] = 0
    """Always 0, for frontends that show it: nobody votes on comments."""
    created_at: Time
    """When the comment was written."""
    editable_until: Time
    """When its author stops being able to change it."""
    edited_at: Time | None
    """When it was last changed; null where it never was."""
    deleted_at: Time | None
    """When it was deleted; null where it was not."""


class CommentList(Struct, frozen=True, kw_only=True):
    """Some comments; `count` is the length of this page."""

    discussions: tuple[CommentBody, ...]
    """Those of this page."""
    count: PageLength
    market_id: MarketKey
    next_cursor: NextPage


class CommentSaid(Struct, frozen=True):
    """What became of a comment, in words and as it is now."""

    message: str
    """What was done, in words."""
    discussion: CommentBody
    """The comment as it is now."""


class CommentDeleted(Struct, frozen=True):
    message: str
    """What was done, in words."""


class ThreadBody(Struct, frozen=True, rename="camel", kw_only=True):
    """A comment with what is below it, oldest first, under the names that the frontend has for it."""

    id: str
    """The comment's id, a UUID."""
    market_id: MarketKey
    author: str | None
    """The author's address, shortened for callers who have not signed in; null when deleted."""
    content: str | None
    """The comment's text; null when deleted."""
    parent_id: str | None
    """The id of the comment that this is a reply to; null for a comment on the market itself."""
    created_at: Time
    """When the comment was written."""
    upvotes: Literal[0] = 0
    """Always 0, for frontends that show it: nobody votes on comments."""
    downvotes: Literal[0] = 0
    """Always 0, as upvotes."""
    is_flagged: Literal[False] = False
    """Always false: nobody flags comments."""
    replies_count: Annotated[int, Meta(description="comments below this one, whether or not they are here")]
    replies: tuple[ThreadBody, ...]
    """Direct replies with what is below them, oldest first."""
    replies_cursor: str | None
    """Where `GET /api/discussions/{id}` with this comment as `parent_id` goes on with its replies; null where
    everything below it is here."""


def comment_body(comment: Comment) -> CommentBody:
    """A comment as the API shows it."""
    return CommentBody(
        id=str(comment.id),
        discussion_id=str(comment.id),
        market_id=comment.market_id,
        user_wallet=comment.author,
        wallet=comment.author,
        parent_id=_id(comment.parent_id),
        depth=comment.depth,
        content=comment.content,
        replies_count=comment.replies,
        created_at=iso_time(comment.created_at),
        editable_until=iso_time(comment.created_at + EDIT_WINDOW),
        edited_at=_time(comment.edited_at),
        deleted_at=_time(comment.deleted_at),
    )


class Below(Struct, frozen=True):
    """Comments below others, oldest first, which may be cut at some time."""

    children: Mapping[UUID | None, Sequence[Comment]]
    """By the id of their parent."""
    last: Comment | None
    """The last that was read, where there are more."""


NOTHING_BELOW = Below({}, None)


def thread_body(comment: Comment, below: Below) -> ThreadBody:
    """A comment with what is `below` it."""
    replies = tuple(thread_body(reply, below) for reply in below.children.get(comment.id, ()))
    return ThreadBody(
        id=str(comment.id),
        market_id=comment.market_id,
        author=comment.author,
        content=comment.content,
        parent_id=_id(comment.parent_id),
        created_at=iso_time(comment.created_at),
        replies_count=comment.replies,
        replies=replies,
        replies_cursor=_replies_cursor(comment, replies, below.last),
    )


def _replies_cursor(comment: Comment, replies: Sequence[ThreadBody], last: Comment | None) -> str | None:
    """All that is not here is later than what was read last, whichever comment it hangs on."""
    if last is None or sum(map(_written, replies)) >= comment.replies:
        return None
    place = CommentPageKey(comment.market_id, str(comment.id), to_micros(last.created_at), last.id)
    return cursor_of(place)


def _written(thread: ThreadBody) -> int:
    """How many comments a thread has that nobody took back."""
    return (thread.content is not None) + sum(map(_written, thread.replies))


def _id(comment_id: UUID | None) -> str | None:
    return None if comment_id is None else str(comment_id)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso_time(moment)
