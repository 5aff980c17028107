"""What others really write, to every field that takes a text."""

from __future__ import annotations

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Answer, Api
from tests.integration.http.rest.rest_stage import PROPOSAL, Stage
from tests.integration.indexer.story import Story

COMMENT = "00000000-0000-4000-8000-000000000007"
WALLET = Keypair.from_seed(bytes([9] * 32))
INVISIBLE = {
    "zero-width spaces": "\u200b" * 12,
    "Hangul fillers": "\u3164\u115f\u1160\uffa0" * 3,
    "combining marks": "\u0301\u0323" * 6,
}
OVERRIDDEN = {
    "an override": "Will \u202eti rain?",
    "an isolate": "Will \u2067it rain?",
    "an embedding": "Will \u202bit rain?",
}
NOTHING_SEEN = "nothing in it can be seen; write letters, digits or symbols"


def problems(refused: Answer) -> list[tuple[str, str]]:
    assert refused.status == 400, refused.body
    return [(one["field"], one["message"]) for one in refused.body["details"]]


@pytest.mark.parametrize("text", INVISIBLE.values(), ids=INVISIBLE)
async def test_a_market_of_texts_that_nobody_sees_is_refused(api: Api, text: str) -> None:
    refused = await api.as_wallet(WALLET).post(
        "/api/markets",
        {
            **PROPOSAL,
            "question": text,
            "description": text,
            "tags": ["a", text],
            "end_date": "2100-01-01T00:00:00Z",
        },
    )
    assert problems(refused) == [
        ("question", f"must be a text of 10 to 200 characters: {NOTHING_SEEN}"),
        ("description", f"must be a text of at most 2000 characters: {NOTHING_SEEN}"),
        ("tags", f"must be at most 10 texts of 1 to 30 characters: in item 2, {NOTHING_SEEN}"),
    ]


@pytest.mark.parametrize("text", OVERRIDDEN.values(), ids=OVERRIDDEN)
async def test_a_market_of_texts_that_override_their_direction_is_refused(api: Api, text: str) -> None:
    refused = await api.as_wallet(WALLET).post(
        "/api/markets",
        {
            **PROPOSAL,
            "question": text,
            "description": text,
            "tags": [text],
            "end_date": "2100-01-01T00:00:00Z",
        },
    )
    found = problems(refused)
    assert [field for field, _ in found] == ["question", "description", "tags"]
    said = f"U+{ord(text[5]):04X}, character 6 of the text, overrides the direction"
    assert all(said in message for _, message in found)


async def test_a_control_character_is_refused_by_field_and_position_in_every_text(api: Api) -> None:
    caller, market = api.as_wallet(WALLET), "ab" * 32
    for field, refused in [
        ("question", await caller.post("/api/markets", {"question": "Will it \x07rain?"})),
        ("question", await caller.post("/api/markets", {"question": "Will it \nrain?"})),
        ("description", await caller.post("/api/markets", {"description": "Will it \x00rain?"})),
        ("tags", await caller.post("/api/markets", {"tags": ["a", "b", "Will it \x1brain?"]})),
        ("content", await caller.post(f"/api/discussions/{market}", {"content": "Will it \x08rain?"})),
        ("content", await caller.patch(f"/api/discussions/{COMMENT}", {"content": "Will it \x7frain?"})),
        ("because", await caller.post(f"/api/markets/{market}/decisions", {"because": "Will it \x85rain?"})),
        ("display_name", await caller.patch("/api/users/me", {"display_name": "Will it \train?"})),
        ("bio", await caller.patch("/api/users/me", {"bio": "Will it \x0brain?"})),
        ("avatar_url", await caller.patch("/api/users/me", {"avatar_url": "https://\x00rain.example"})),
        ("q", await caller.get("/api/markets", q="Will it \x01rain?")),
        ("tag", await caller.get("/api/markets", tag="Will it \x02rain?")),
    ]:
        said = dict(problems(refused))[field]
        assert ", character 9 of the text, " in said
        assert ("in item 3, " in said) == (field == "tags")


@pytest.mark.parametrize("text", [*INVISIBLE.values(), *OVERRIDDEN.values()])
async def test_comments_profiles_decisions_and_searches_are_held_to_the_same(api: Api, text: str) -> None:
    story = Story(1)
    story.create()
    await api.indexer.apply(story.transactions)
    market, caller = story.market_id.hex(), api.as_wallet(WALLET)
    for refused, field in [
        (await caller.post(f"/api/discussions/{market}", {"content": text}), "content"),
        (await caller.patch("/api/users/me", {"display_name": text}), "display_name"),
        (await caller.patch("/api/users/me", {"bio": text}), "bio"),
        (
            await caller.post(f"/api/markets/{market}/decisions", {"decision": "keep", "because": text}),
            "because",
        ),
        (await caller.get("/api/markets", q=text), "q"),
        (await caller.get("/api/markets", tag=text), "tag"),
    ]:
        assert [name for name, _ in problems(refused)] == [field]


async def test_texts_are_stored_composed_and_without_what_nobody_sees(stage: Stage) -> None:
    proposed = await stage.propose(
        question="Will Beyonce\u0301 tour\u200b in\u00a02028?\ufeff",
        description="Fu\u0308r 'n Sho\u200dw.",
        tags=["Beyonce\u0301", "\U0001f469\u200d\U0001f680"],
    )
    assert proposed.status == 201, proposed.body
    shown = proposed.body["market"]
    assert (shown["question"], shown["description"], shown["tags"]) == (
        "Will Beyonc\u00e9 tour in\u00a02028?",
        "F\u00fcr 'n Show.",
        ["Beyonc\u00e9", "\U0001f469\u200d\U0001f680"],
    )
    said = await stage.alice.patch("/api/users/me", {"bio": "cafe\u0301\u200b", "display_name": "Zoe\u0308"})
    assert (said.body["bio"], said.body["display_name"]) == ("caf\u00e9", "Zo\u00eb")


async def test_texts_of_newer_scripts_and_emoji_are_taken(api: Api) -> None:
    name = "Ada \U0001faf8\U0001fae8 \u0645\u06cc\u200c\u062e"
    taken = await api.as_wallet(WALLET).patch("/api/users/me", {"display_name": name})
    assert (taken.status, taken.body["display_name"]) == (200, name)


async def test_marks_without_end_are_refused_before_they_cost_anything(api: Api) -> None:
    refused = await api.as_wallet(WALLET).patch("/api/users/me", {"bio": "x" + "\u0301\u0323" * 3_000})
    [(field, message)] = problems(refused)
    assert field == "bio"
    assert "character 18 of the text, is one of more than 16 combining marks on one character" in message
