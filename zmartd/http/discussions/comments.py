"""Discussions: reading, writing, changing and deleting comments on markets and replies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from asyncpg import Connection
from msgspec import Struct

from zmartd.http.discussions.schemas import (
    COMMENT,
    NO_REPLIES,
    CommentDeleted,
    CommentList,
    CommentResult,
    CommentsQuery,
    EditedComment,
    NewComment,
    NewMarketComment,
    Replies,
    ThreadBody,
    ThreadsQuery,
    comment_body,
    thread_body,
)
from zmartd.http.errors.requests import MarketPending
from zmartd.http.kit import keys
from zmartd.http.kit.operation import Access, Call, JsonResponse, Operation, Quota
from zmartd.http.kit.pagination import array_response, encode_cursor, invalid_cursor, start_key
from zmartd.http.markets.lookup import any_market, chain_market
from zmartd.realtime.messages import DiscussionChange, Message
from zmartd.store import discussions, markets
from zmartd.store.discussions import (
    THREADS,
    Comment,
    CommentNotFound,
    CommentPageKey,
    EditWindowClosed,
    NotTheAuthor,
    ParentNotFound,
    ThreadTooDeep,
)
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.postgres.rls import ACT_AS_SERVICE

MAX_THREAD_REPLIES = 500
"""The maximum number of replies in a list of threads, over all its threads."""


async def list_comments(call: Call[CommentsQuery]) -> CommentList:
    """All comments of a market, or the replies to one. Deleted comments are shown while they have replies."""
    query = call.input
    after = start_key(query, CommentPageKey)
    caller = call.caller
    async with call.database.reader(caller) as connection:
        market = await any_market(connection, call.path["id"])
        where = discussions.CommentFilter(market.id, query.parent_id)
        if after is not None and not where.has(after):
            raise invalid_cursor()
        page = await discussions.page(
            connection, caller, where, query.limit, offset=query.offset or 0, after=after
        )
    return CommentList(
        discussions=tuple(comment_body(comment) for comment in page.rows),
        count=len(page.rows),
        total=page.total,
        market_id=market.id,
        snapshot_cid=market.discussion_snapshot_cid,
        next_cursor=encode_cursor(page.next_key),
    )


async def list_threads(call: Call[ThreadsQuery]) -> JsonResponse:
    """A bare array of a market's threads, newest first. Headers have the cursor of the next page.

    The threads together have at most 500 replies. `repliesCursor` leads to the replies that are left out.
    """
    query = call.input
    after = start_key(query, CommentPageKey)
    caller = call.caller
    async with call.database.reader(caller) as connection:
        market = await any_market(connection, call.path["id"])
        where = discussions.CommentFilter(market.id, THREADS)
        if after is not None and not where.has(after):
            raise invalid_cursor()
        roots = await discussions.page(
            connection, caller, where, query.limit, offset=query.offset or 0, after=after
        )
        ids = [comment.id for comment in roots.rows]
        found = await discussions.below(connection, caller, ids, MAX_THREAD_REPLIES + 1)
    replies = _replies(found)
    return array_response(
        call.request, [thread_body(comment, replies) for comment in roots.rows], roots.next_key
    )


def _replies(found: Sequence[Comment]) -> Replies:
    shown = found[:MAX_THREAD_REPLIES]
    by_parent: defaultdict[UUID | None, list[Comment]] = defaultdict(list)
    for comment in shown:
        by_parent[comment.parent_id].append(comment)
    return Replies(by_parent, shown[-1] if len(found) > len(shown) else None)


async def post_comment(call: Call[NewMarketComment]) -> JsonResponse:
    """Comment on the market that the body names. 200 for the same text sent again within five minutes."""
    body = call.input
    return await _post(call, body.market_id, body)


async def post_comment_on(call: Call[NewComment]) -> JsonResponse:
    """Comment on the market in the path. 200 for the same text sent again within five minutes."""
    body = call.input
    return await _post(call, call.path["id"], body)


async def post_thread(call: Call[NewComment]) -> JsonResponse:
    """Comment on a market. The answer has the frontend's names. 200 for the same text sent again within five
    minutes.
    """
    body = call.input
    return await _write(call, call.path["id"], body, lambda comment: thread_body(comment, NO_REPLIES))


async def edit_comment(call: Call[EditedComment]) -> CommentResult:
    """Change the text of the caller's own comment, at most 15 minutes after it was written."""
    body = call.input
    wallet = call.wallet
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        comment = await discussions.edit(connection, wallet, UUID(call.path["id"]), body.content)
        market = await markets.get(connection, comment.market_id)
        answer = CommentResult("Comment changed", comment_body(comment))
        messages = await _append(call, connection, market, comment, answer)
    await call.app[keys.PUBLISHER].publish(messages)
    return answer


async def delete_comment(call: Call[None]) -> CommentDeleted:
    """Delete the caller's own comment. Replies to it stay, below a comment without author and content."""
    wallet = call.wallet
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        comment = await discussions.delete(connection, wallet, UUID(call.path["id"]))
        market = await markets.get(connection, comment.market_id)
        answer = CommentDeleted("Comment deleted")
        messages = await _append(call, connection, market, comment, answer)
    await call.app[keys.PUBLISHER].publish(messages)
    return answer


async def _post(call: Call[Any], reference: str, body: NewComment) -> JsonResponse:
    return await _write(
        call, reference, body, lambda comment: CommentResult("Comment posted", comment_body(comment))
    )


async def _write(
    call: Call[Any], reference: str, body: NewComment, answer_with: Callable[[Comment], Struct]
) -> JsonResponse:
    wallet = call.wallet
    parent = None if body.parent_id is None else UUID(body.parent_id)
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await chain_market(connection, reference)
        written = await discussions.write(connection, wallet, market.id, parent, body.content)
        answer = JsonResponse(answer_with(written.comment), 201 if written.new else 200)
        if not written.new:
            await connection.execute(ACT_AS_SERVICE)
            await call.keep_answer(connection, answer)
            return answer
        messages = await _append(call, connection, market, written.comment, answer)
    await call.app[keys.PUBLISHER].publish(messages)
    return answer


async def _append(
    call: Call[Any],
    connection: Connection,
    market: MarketRow,
    comment: Comment,
    answer: Struct | JsonResponse,
) -> list[Message]:
    """Keep the answer, and append a change of a comment to its market's stream: the last in the wallet's
    transaction.
    """
    await connection.execute(ACT_AS_SERVICE)
    await call.keep_answer(connection, answer)
    change = _change(comment, call.wallet)
    message = Message(market.id, change, _changed_at(comment), category=market.category)
    return await call.app[keys.PUBLISHER].append(connection, [message])


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


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/discussions/{id}",
        handler=list_comments,
        shows_market=True,
        summary="The comments on a market",
        tag="discussions",
        access=Access.PUBLIC,
        query=CommentsQuery,
        responses={200: CommentList},
        errors=(MarketNotFound,),
        from_replica=True,
    ),
    Operation(
        method="POST",
        path="/api/discussions/{id}",
        handler=post_comment_on,
        name="post_comment_on_market",
        summary="Comment on a market",
        tag="discussions",
        body=NewComment,
        responses={201: CommentResult, 200: CommentResult},
        errors=(MarketNotFound, MarketPending, ParentNotFound, ThreadTooDeep),
        access=Access.WALLET,
        quota=Quota.COMMENTS,
    ),
    Operation(
        method="PATCH",
        path="/api/discussions/{id}",
        handler=edit_comment,
        summary="Change the caller's own comment",
        tag="discussions",
        variables={"id": COMMENT},
        body=EditedComment,
        responses={200: CommentResult},
        errors=(CommentNotFound, NotTheAuthor, EditWindowClosed),
        access=Access.WALLET,
    ),
    Operation(
        method="DELETE",
        path="/api/discussions/{id}",
        handler=delete_comment,
        summary="Delete the caller's own comment",
        tag="discussions",
        variables={"id": COMMENT},
        responses={200: CommentDeleted},
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
        responses={201: CommentResult, 200: CommentResult},
        errors=(MarketNotFound, MarketPending, ParentNotFound, ThreadTooDeep),
        access=Access.WALLET,
        quota=Quota.COMMENTS,
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/discussions",
        handler=list_threads,
        shows_market=True,
        summary="The threads of a market, as a bare array",
        tag="discussions",
        replaced_by="list_comments",
        access=Access.PUBLIC,
        query=ThreadsQuery,
        responses={200: tuple[ThreadBody, ...]},
        errors=(MarketNotFound,),
        from_replica=True,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/discussions",
        handler=post_thread,
        summary="Comment on a market, answered under the frontend's names",
        tag="discussions",
        replaced_by="post_comment_on_market",
        body=NewComment,
        responses={201: ThreadBody, 200: ThreadBody},
        errors=(MarketNotFound, MarketPending, ParentNotFound, ThreadTooDeep),
        access=Access.WALLET,
        quota=Quota.COMMENTS,
    ),
)
