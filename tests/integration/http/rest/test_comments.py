from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Answer, Api, Caller
from tests.integration.indexer.story import Story
from zmartd.market.ids import masked
from zmartd.realtime.messages import DiscussionChange, Message
from zmartd.store import discussions
from zmartd.store.postgres.rls import Caller as As

AUTHOR, OTHER = Keypair.from_seed(bytes([9] * 32)), Keypair.from_seed(bytes([8] * 32))


async def market(api: Api, seed: int = 1) -> str:
    story = Story(seed)
    story.create()
    await api.indexer.apply(story.transactions)
    return story.market_id.hex()


async def say(caller: Caller, market_id: str, content: str, parent: str | None = None) -> dict[str, Any]:
    body = {"market_id": market_id, "content": content}
    answer = await caller.post("/api/discussions", body | ({"parent_id": parent} if parent else {}))
    assert answer.status == 201, answer.body
    return dict(answer.body["discussion"])


async def said(caller: Caller, market_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = await caller.get(f"/api/discussions/{market_id}", **query)
    assert answer.status == 200, answer.body
    assert answer.body["count"] == len(answer.body["discussions"])
    return list(answer.body["discussions"])


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["code"]


async def test_a_comment_is_trimmed_and_shown_newest_first(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    first = await say(author, market_id, "  It rained yesterday.\n")
    second = await say(author, market_id, "It will rain 🌧 tomorrow.")

    assert first["content"] == "It rained yesterday."
    assert (first["user_wallet"], first["depth"], first["replies_count"]) == (author.address, 0, 0)
    assert (first["parent_id"], first["edited_at"], first["deleted_at"]) == (None, None, None)
    assert await said(author, market_id) == [second, first]
    assert await said(author, market_id, limit=1, offset=1) == [first]
    assert await said(author, market_id, limit=0) == []


@pytest.mark.parametrize("of", ["market", "threads", "comment"])
async def test_comments_read_page_by_page_are_all_there_once(api: Api, of: str) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    root = await say(author, market_id, "root")
    parent = UUID(root["id"]) if of == "comment" else None
    async with api.database.service() as connection:
        # All of the same moment, so that only their ids tell them apart.
        await connection.execute(
            "insert into discussions (market_id, user_wallet, parent_id, content)"
            " select $1, $2, $3, 'comment ' || n from generate_series(1, 7) as n",
            market_id,
            author.address,
            parent,
        )
    query = {"market": {}, "threads": {"parent_id": "none"}, "comment": {"parent_id": root["id"]}}[of]
    whole = await said(author, market_id, **query)

    read: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await author.get(f"/api/discussions/{market_id}", limit=2, **query, **cursor)
        assert page.status == 200, page.body
        read += page.body["discussions"]
        if page.body["next_cursor"] is None:
            break
        cursor = {"cursor": page.body["next_cursor"]}
        # What is newer than the first page belongs to the next reading.
        if of != "comment":
            await say(author, market_id, f"meanwhile {len(read)}")
    assert read == whole


async def test_a_cursor_belongs_to_its_list(api: Api) -> None:
    here, elsewhere = await market(api), await market(api, 2)
    author = api.as_wallet(AUTHOR)
    for words in ("a", "b"):
        await say(author, here, words)
    page = await author.get(f"/api/discussions/{here}", limit=1)

    for market_id, query in ((elsewhere, {}), (here, {"parent_id": "none"}), (here, {"offset": 1})):
        answer = await author.get(f"/api/discussions/{market_id}", cursor=page.body["next_cursor"], **query)
        assert refusal(answer) == (400, "invalid_request")
        assert [problem["field"] for problem in answer.body["details"]] == ["cursor"]


async def test_anonymous_callers_see_authors_shortened(api: Api) -> None:
    market_id = await market(api)
    await say(api.as_wallet(AUTHOR), market_id, "hello")

    (seen,) = await said(api.anybody, market_id)
    assert seen["user_wallet"] == masked(str(AUTHOR.pubkey()))
    (thread,) = (await api.anybody.get(f"/api/markets/{market_id}/discussions")).body
    assert thread["author"] == masked(str(AUTHOR.pubkey()))


async def test_replies_are_listed_below_their_comment(api: Api) -> None:
    market_id = await market(api)
    author, other = api.as_wallet(AUTHOR), api.as_wallet(OTHER)
    root = await say(author, market_id, "root")
    reply = await say(other, market_id, "reply", root["id"])
    answer = await say(author, market_id, "answer to the reply", reply["id"])
    late = await say(other, market_id, "late reply", root["id"])

    assert [one["depth"] for one in (root, reply, answer, late)] == [0, 1, 2, 1]
    assert [one["id"] for one in await said(author, market_id, parent_id=root["id"])] == [
        reply["id"],
        late["id"],
    ]
    (top,) = await said(author, market_id, parent_id="none")
    assert (top["id"], top["replies_count"]) == (root["id"], 3)
    (thread,) = (await author.get(f"/api/markets/{market_id}/discussions")).body
    assert [one["content"] for one in thread["replies"]] == ["reply", "late reply"]
    assert thread["replies"][0]["replies"] == [
        {
            "id": answer["id"],
            "marketId": market_id,
            "author": author.address,
            "content": "answer to the reply",
            "parentId": reply["id"],
            "createdAt": answer["created_at"],
            "upvotes": 0,
            "downvotes": 0,
            "isFlagged": False,
            "repliesCount": 0,
            "replies": [],
            "repliesCursor": None,
        }
    ]


async def test_threads_are_of_bounded_depth(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    comment = await say(author, market_id, "0")
    for depth in range(1, discussions.MOST_NESTED + 1):
        comment = await say(author, market_id, str(depth), comment["id"])
    assert comment["depth"] == discussions.MOST_NESTED

    body = {"content": "deeper", "parent_id": comment["id"]}
    deeper = await author.post(f"/api/discussions/{market_id}", body)
    assert refusal(deeper) == (409, "thread_too_deep")


async def test_a_reply_has_to_be_in_the_market_of_its_parent(api: Api) -> None:
    here, elsewhere = await market(api), await market(api, 2)
    author = api.as_wallet(AUTHOR)
    comment = await say(author, here, "here")
    gone = await say(author, elsewhere, "gone")
    await author.delete(f"/api/discussions/{gone['id']}")

    for parent in (comment["id"], gone["id"], str(uuid4())):
        body = {"content": "reply", "parent_id": parent}
        assert refusal(await author.post(f"/api/discussions/{elsewhere}", body)) == (404, "parent_not_found")
    assert await said(author, elsewhere) == []
    assert await said(author, elsewhere, parent_id=comment["id"]) == []


async def test_the_frontend_s_path_answers_under_its_names(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    root = await author.post(f"/api/markets/{market_id}/discussions", {"content": "root"})
    assert root.status == 201
    reply = await author.post(
        f"/api/markets/{market_id}/discussions", {"content": "reply", "parentId": root.body["id"]}
    )
    assert (reply.status, reply.body["parentId"], reply.body["author"]) == (
        201,
        root.body["id"],
        author.address,
    )


async def test_a_repeated_post_is_one_comment(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    once = await say(author, market_id, "same words")

    again = await author.post("/api/discussions", {"market_id": market_id, "content": "same words"})
    assert (again.status, again.body["discussion"]) == (200, once)
    both = [
        author.post(f"/api/discussions/{market_id}", {"content": "two retries at once"}) for _ in range(2)
    ]
    assert sorted(answer.status for answer in await asyncio.gather(*both)) == [200, 201]
    assert len(await said(author, market_id)) == 2
    await say(api.as_wallet(OTHER), market_id, "same words")


async def test_a_post_without_a_key_that_is_repeated_within_five_minutes_is_one_comment(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    once = await say(author, market_id, "once")
    async with api.database.service() as connection:
        await connection.execute(
            "update discussions set created_at = created_at - $1::interval", timedelta(minutes=4)
        )
    again = await author.post(f"/api/discussions/{market_id}", {"content": "once"})
    assert (again.status, again.body["discussion"]["id"]) == (200, once["id"])


async def test_an_author_can_edit_a_young_comment(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    comment = await say(author, market_id, "frist")

    edited = await author.patch(f"/api/discussions/{comment['id']}", {"content": " first "})
    assert edited.status == 200
    assert edited.body["discussion"]["edited_at"] >= comment["created_at"]
    assert edited.body["discussion"] == comment | {
        "content": "first",
        "edited_at": edited.body["discussion"]["edited_at"],
    }
    assert await said(author, market_id) == [edited.body["discussion"]]


async def test_an_old_comment_can_be_deleted_and_not_edited(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    comment = await say(author, market_id, "old words")
    async with api.database.service() as connection:
        await connection.execute(
            "update discussions set created_at = created_at - $1::interval", timedelta(minutes=15)
        )

    edit = await author.patch(f"/api/discussions/{comment['id']}", {"content": "new words"})
    assert refusal(edit) == (409, "edit_window_closed")
    assert (await author.delete(f"/api/discussions/{comment['id']}")).status == 200
    assert await said(author, market_id) == []


async def test_only_the_author_changes_or_deletes_a_comment(api: Api) -> None:
    market_id = await market(api)
    comment = await say(api.as_wallet(AUTHOR), market_id, "mine")
    path = f"/api/discussions/{comment['id']}"

    for caller, expected in (
        (api.anybody, (401, "auth_missing")),
        (api.as_wallet(OTHER), (403, "not_the_author")),
    ):
        assert refusal(await caller.patch(path, {"content": "yours"})) == expected
        assert refusal(await caller.delete(path)) == expected
    (seen,) = await said(api.as_wallet(AUTHOR), market_id)
    assert seen == comment


async def test_an_update_without_an_author_condition_changes_only_the_callers_own(api: Api) -> None:
    market_id = await market(api)
    await say(api.as_wallet(AUTHOR), market_id, "mine")

    async with api.database.caller(As(str(OTHER.pubkey()))) as connection:
        assert await connection.execute("update discussions set content = 'yours'") == "UPDATE 0"
        assert await connection.execute("update discussions set deleted_at = now()") == "UPDATE 0"


async def test_a_deleted_comment_is_shown_while_it_has_replies(api: Api) -> None:
    market_id = await market(api)
    author, other = api.as_wallet(AUTHOR), api.as_wallet(OTHER)
    root = await say(author, market_id, "secret")
    middle = await say(author, market_id, "secret, too", root["id"])
    leaf = await say(other, market_id, "leaf", middle["id"])
    for comment in (root, middle):
        assert (await author.delete(f"/api/discussions/{comment['id']}")).body == {
            "message": "Comment deleted"
        }

    for caller in (author, other, api.anybody):
        shown = {one["id"]: one for one in await said(caller, market_id)}
        assert set(shown) == {root["id"], middle["id"], leaf["id"]}
        for gone in (root, middle):
            assert (shown[gone["id"]]["content"], shown[gone["id"]]["user_wallet"]) == (None, None)
            assert shown[gone["id"]]["deleted_at"] is not None
    gone_again = await author.delete(f"/api/discussions/{root['id']}")
    assert refusal(gone_again) == (404, "comment_not_found")
    revived = await author.patch(f"/api/discussions/{root['id']}", {"content": "revived"})
    assert refusal(revived) == (404, "comment_not_found")

    await other.delete(f"/api/discussions/{leaf['id']}")
    assert await said(author, market_id) == []
    assert (await author.get(f"/api/markets/{market_id}/discussions")).body == []


async def test_comments_are_published(api: Api) -> None:
    market_id = await market(api)
    author = api.as_wallet(AUTHOR)
    heard: list[DiscussionChange] = []
    async with asyncio.timeout(120), aclosing(api.bus.listen()) as news:
        await anext(news)
        root = await say(author, market_id, "root")
        reply = await say(author, market_id, "reply", root["id"])
        await author.post("/api/discussions", {"market_id": market_id, "content": "root"})
        await author.patch(f"/api/discussions/{reply['id']}", {"content": "a better reply"})
        await author.delete(f"/api/discussions/{reply['id']}")
        while len(heard) < 4:
            message = await anext(news)
            assert isinstance(message, Message)
            assert message.market_id == market_id
            assert isinstance(message.data, DiscussionChange)
            heard.append(message.data)

    assert [(one.action, one.content, one.parent_id) for one in heard] == [
        ("created", "root", None),
        ("created", "reply", root["id"]),
        ("updated", "a better reply", root["id"]),
        ("deleted", None, root["id"]),
    ]
    assert {one.user_wallet for one in heard} == {author.address}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "   \n ",
        "\u200b\u2060",
        "a" * 1_001,
        "nul\x00byte",
        "bell\x07",
        "\ud800",
        7,
        ["a"],
        {"a": 1},
        None,
    ],
)
async def test_bad_texts_are_refused_by_name(api: Api, content: object) -> None:
    market_id = await market(api)
    answer = await api.as_wallet(AUTHOR).post(f"/api/discussions/{market_id}", {"content": content})
    if content == "\ud800":
        assert refusal(answer) == (400, "invalid_json")
        return
    assert refusal(answer) == (400, "invalid_request")
    assert [problem["field"] for problem in answer.body["details"]] == ["content"]


async def test_a_text_of_the_maximum_length_is_accepted(api: Api) -> None:
    market_id = await market(api)
    content = "';drop table discussions;--<script>" + "🌧" * 965
    assert (await say(api.as_wallet(AUTHOR), market_id, content))["content"] == content


@pytest.mark.parametrize("comment_id", ["x", "%00", "ab" * 32, "0" * 36, "a" * 5_000])
async def test_a_malformed_id_is_answered_as_comment_not_found(api: Api, comment_id: str) -> None:
    author = api.as_wallet(AUTHOR)
    assert refusal(await author.delete(f"/api/discussions/{comment_id}")) == (404, "comment_not_found")
    patched = await author.patch(f"/api/discussions/{comment_id}", {"content": "hello"})
    assert refusal(patched) == (404, "comment_not_found")


async def test_comments_on_unknown_markets_are_refused(api: Api) -> None:
    author = api.as_wallet(AUTHOR)
    unknown = "ab" * 32
    assert refusal(await author.get(f"/api/discussions/{unknown}")) == (404, "market_not_found")
    assert refusal(await author.post(f"/api/discussions/{unknown}", {"content": "hello"})) == (
        404,
        "market_not_found",
    )
    assert refusal(await api.anybody.post(f"/api/discussions/{unknown}", {"content": "hello"})) == (
        401,
        "auth_missing",
    )
    both = await author.post("/api/discussions", {"market_id": "nonsense", "parent_id": 7})
    assert [problem["field"] for problem in both.body["details"]] == ["content", "parent_id", "market_id"]
    query = await author.get(f"/api/discussions/{unknown}", parent_id="x", limit=101)
    assert [problem["field"] for problem in query.body["details"]] == ["parent_id", "limit"]
