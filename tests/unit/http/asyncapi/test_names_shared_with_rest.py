"""A field of a frame that a REST answer has as well means the same there, and the two documents say so."""

from __future__ import annotations

import re

import pytest

from zmartd.chain.idl import default_idl
from zmartd.http.asyncapi.document import asyncapi
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json
from zmartd.http.routes import OPERATIONS

FRAMES: Json = asyncapi()["components"]["schemas"]
ANSWERS: Json = openapi(OPERATIONS, default_idl())["components"]["schemas"]
SAME = {
    "MarketData": "MarketBody",
    "PriceData": "MarketBody",
    "TradeData": "TradeBody",
    "FillData": "TradeBody",
    "FeeSummary": "FeeBody",
    "PositionData": "PositionBody",
    "VoteData": "VoteBody",
    "Post": "CommentBody",
}


def is_for_earlier_clients(about: Json) -> bool:
    return str(about.get("description", "")).startswith("For earlier clients: ")


OF_BOTH = [
    (frame, answer, field)
    for frame, answer in SAME.items()
    for field, about in FRAMES[frame]["properties"].items()
    if field in ANSWERS[answer]["properties"] and not is_for_earlier_clients(about)
]


def meaning(about: Json, *, can_be_null: bool) -> str:
    """What a field's description says, without when it is null where it cannot be."""
    text = str(about["description"])
    return text if can_be_null else re.sub(r"; null [^.]*", "", text)


def can_be_null(about: Json) -> bool:
    return {"type": "null"} in about.get("anyOf", ())


def values_of(about: Json) -> set[str]:
    """The names that a field can have, where there are only so many."""
    return {name for part in (about, *about.get("anyOf", ())) for name in part.get("enum", ())}


def test_frames_and_answers_have_names_in_common() -> None:
    assert {frame for frame, _, _ in OF_BOTH} == set(SAME)


@pytest.mark.parametrize(("frame", "answer", "field"), OF_BOTH)
def test_a_frame_describes_a_field_as_the_answer_does(frame: str, answer: str, field: str) -> None:
    in_frame, in_answer = FRAMES[frame]["properties"][field], ANSWERS[answer]["properties"][field]
    assert in_frame["description"] == meaning(in_answer, can_be_null=can_be_null(in_frame))
    assert values_of(in_frame) == values_of(in_answer)
