"""Discussions: comments on markets, replies to them, and their authors' second thoughts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from aiohttp import web

from zmartd.http.auth.identity import caller_of, require_wallet
from zmartd.http.discussions.body import (
    NOTHING_BELOW,
    Below,
    CommentDeleted,
    CommentId,
    CommentList,
    CommentSaid,
    CommentsQuery,
    EditedComment,
    NewComment,
    NewMarketComment,
    ThreadBody,
    ThreadsQuery,
    comment_body,
    thread_body,
)
from zmartd.http.errors.requests import MarketPending
from zmartd.http.kit import keys
from zmartd.http.kit.codec import decode_body, decode_query, json_response
from zmartd.http.kit.operation import Access, Operation
from zmartd.http.kit.pagination import array_response, beginning
from zmartd.http.kit.place import cursor_of, foreign_cursor
from zmartd.http.markets.reading import chain_market, find_market, market_ref
from zmartd.log import get_logger
from zmartd.realtime.bus import BusUnavailable
from zmartd.realtime.messages import DiscussionChange, Message
from zmartd.store import discussions, markets
from zmartd.store.discussions import (
    THREADS,
    Comment,
    CommentNotFound,
    CommentPlace,
    EditWindowClosed,
    NotTheAuthor,
    ParentNotFound,
    ThreadTooDeep,
)
from zmartd.store.markets import Market, MarketNotFound

log = get_logger(__name__)

MOST_NESTED_REPLIES = 500
"""How many replies a list of whole threads carries along."""


async def list_comments(request: web.Request) -> web.Response:
    """Every comment of a market, or the replies to one of them. Deleted ones stand in for their replies."""
    query = decode_query(request, CommentsQuery)
    after = beginning(query, CommentPlace)
    caller = caller_of(request)
    async with request.app[keys.DATABASE].caller(caller) as connection:
        market = await find_market(connection, market_ref(request))
        place = discussions.CommentList(market.id, query.parent_id)
        if after is not None and not place.has(after):
            raise foreign_cursor()
        page = await discussions.page(
            connection, caller, place, query.limit, offset=query.offset, after=after
        )
    return json_response(
        CommentList(
            discussions=tuple(comment_body(comment) for comment in page.rows),
            count=len(page.rows),
            market_id=market.id,
            next_cursor=cursor_of(page.following),
        )
    )


async def list_threads(request: web.Request) -> web.Response:
    """A bare array of a market's newest threads; what comes after it is in the headers.

    They have at most 500 replies in all. Where that leaves some out, `repliesCursor` leads to them.
    """
    query = decode_query(request, ThreadsQuery)
    after = beginning(query, CommentPlace)
    caller = caller_of(request)
    async with request.app[keys.DATABASE].caller(caller) as connection:
        market = await find_market(connection, market_ref(request))
        place = discussions.CommentList(market.id, THREADS)
        if after is not None and not place.has(after):
            raise foreign_cursor()
        roots = await discussions.page(
            connection, caller, place, query.limit, offset=query.offset, after=after
        )
        ids = [comment.id for comment in roots.rows]
        found = await discussions.below(connection, caller, ids, MOST_NESTED_REPLIES + 1)
    below = _below(found)
    return array_response(request, [thread_body(comment, below) for comment in roots.rows], roots.following)


def _below(found: Sequence[Comment]) -> Below:
    shown = found[:MOST_NESTED_REPLIES]
    children: defaultdict[UUID | None, list[Comment]] = defaultdict(list)
    for comment in shown:
        children[comment.parent_id].append(comment)
    return Below(children, shown[-1] if len(found) > len(shown) else None)


async def post_comment(request: web.Request) -> web.Response:
    """Say something about the market that the body names. The same words sent twice are one comment: 200."""
    body = await decode_body(request, NewMarketComment)
    return await _post(request, body.market_id, body)


async def post_comment_on(request: web.Request) -> web.Response:
    """Say something about the market in the path. The same words sent twice are one comment: 200."""
    body = await decode_body(request, NewComment)
    return await _post(request, market_ref(request), body)


async def post_thread(request: web.Request) -> web.Response:
    """Say something about a market, and get it back under the names that the frontend has for it."""
    body = await decode_body(request, NewComment)
    comment, status = await _write(request, market_ref(request), body)
    return json_response(thread_body(comment, NOTHING_BELOW), status)


async def edit_comment(request: web.Request) -> web.Response:
    """Change the words of one's own comment, within 15 minutes."""
    body = await decode_body(request, EditedComment)
    wallet = require_wallet(request)
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        comment = await discussions.edit(connection, wallet, _comment_id(request), body.content)
        market = await markets.get(connection, comment.market_id)
    await _announce(request, market, comment, wallet)
    return json_response(CommentSaid("Comment changed", comment_body(comment)))


async def delete_comment(request: web.Request) -> web.Response:
    """Take back one's own comment. What hangs on it stays, below a comment without author and content."""
    wallet = require_wallet(request)
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        comment = await discussions.delete(connection, wallet, _comment_id(request))
        market = await markets.get(connection, comment.market_id)
    await _announce(request, market, comment, wallet)
    return json_response(CommentDeleted("Comment deleted"))


async def _post(request: web.Request, reference: str, body: NewComment) -> web.Response:
    comment, status = await _write(request, reference, body)
    return json_response(CommentSaid("Comment posted", comment_body(comment)), status)


async def _write(request: web.Request, reference: str, body: NewComment) -> tuple[Comment, int]:
    wallet = require_wallet(request)
    parent = None if body.parent_id is None else UUID(body.parent_id)
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        market = await chain_market(connection, reference)
        written = await discussions.write(connection, wallet, market.id, parent, body.content)
    if not written.new:
        return written.comment, 200
    await _announce(request, market, written.comment, wallet)
    return written.comment, 201


async def _announce(request: web.Request, market: Market, comment: Comment, wallet: str) -> None:
    message = Message(market.id, market.version, _change(comment, wallet), _changed_at(comment))
    try:
        await request.app[keys.BUS].publish([message])
    except BusUnavailable as error:
        # The comment is there all the same; whoever watches sees it with the next reading.
        log.warning("discussions.unpublished", market_id=market.id, reason=error.message)


def _change(comment: Comment, wallet: str) -> DiscussionChange:
    action: Literal["created", "updated", "deleted"] = "created"
    if comment.deleted_at is not None:
        action = "deleted"
    elif comment.edited_at is not None:
        action = "updated"
    return DiscussionChange(
        action=action,
        discussion_id=str(comment.id),
        user_wallet=wallet,
        content=comment.content,
        parent_id=None if comment.parent_id is None else str(comment.parent_id),
    )


def _changed_at(comment: Comment) -> datetime:
    return comment.deleted_at or comment.edited_at or comment.created_at


def _comment_id(request: web.Request) -> UUID:
    try:
        return UUID(CommentId.parse(request.match_info["id"]))
    except ValueError as error:
        raise CommentNotFound("A comment is named by its id, a UUID.") from error


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/discussions/{id}",
        handler=list_comments,
        summary="The comments on a market",
        tag="discussions",
        query=CommentsQuery,
        answers={200: CommentList},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="POST",
        path="/api/discussions/{id}",
        handler=post_comment_on,
        summary="Comment on a market",
        tag="discussions",
        body=NewComment,
        answers={201: CommentSaid, 200: CommentSaid},
        errors=(MarketNotFound, MarketPending, ParentNotFound, ThreadTooDeep),
        access=Access.WALLET,
    ),
    Operation(
        method="PATCH",
        path="/api/discussions/{id}",
        handler=edit_comment,
        summary="Change one's own comment",
        tag="discussions",
        variables={"id": CommentId},
        body=EditedComment,
        answers={200: CommentSaid},
        errors=(CommentNotFound, NotTheAuthor, EditWindowClosed),
        access=Access.WALLET,
    ),
    Operation(
        method="DELETE",
        path="/api/discussions/{id}",
        handler=delete_comment,
        summary="Delete one's own comment",
        tag="discussions",
        variables={"id": CommentId},
        answers={200: CommentDeleted},
        errors=(CommentNotFound, NotTheAuthor),
        access=Access.WALLET,
    ),
    Operation(
        method="POST",
        path="/api/discussions",
        handler=post_comment,
        summary="Comment on a market that the body names",
        tag="discussions",
        body=NewMarketComment,
        answers={201: CommentSaid, 200: CommentSaid},
        errors=(MarketNotFound, MarketPending, ParentNotFound, ThreadTooDeep),
        access=Access.WALLET,
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/discussions",
        handler=list_threads,
        summary="A market's threads, as a bare array",
        tag="discussions",
        query=ThreadsQuery,
        answers={200: tuple[ThreadBody, ...]},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/discussions",
        handler=post_thread,
        summary="Comment on a market, answered as the frontend names things",
        tag="discussions",
        body=NewComment,
        answers={201: ThreadBody, 200: ThreadBody},
        errors=(MarketNotFound, MarketPending, ParentNotFound, ThreadTooDeep),
        access=Access.WALLET,
    ),
)

POST_PATHS = frozenset(operation.path for operation in OPERATIONS if operation.method == "POST")
"""Where comments are posted to."""
