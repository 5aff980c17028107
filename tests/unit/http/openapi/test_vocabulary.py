"""One name for each thing, and one meaning for each name, in all answers: docs/vocabulary.md."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from zmartd.chain.idl import default_idl
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json
from zmartd.http.routes import OPERATIONS

SCHEMAS: Json = openapi(OPERATIONS, default_idl())["components"]["schemas"]


_OTHER_SCHEMAS = {
    *("PositionRow", "ThreadBody"),
    *("PurchaseForCost", "PurchaseOfShares", "NewComment", "NewMarketComment", "ProfileChanges"),
}
"""Of replaced operations, and of requests."""


def names_and_types() -> Mapping[str, Mapping[str, set[str]]]:
    """The types of each field that is not deprecated, and the schemas where it has them.

    Without the program's events, whose names are the program's, without requests, and without what replaced
    operations answer.
    """
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for schema in SCHEMAS:
        if schema.endswith(("Event", "InTrail", "Request")) or schema in _OTHER_SCHEMAS:
            continue
        for name, field in SCHEMAS[schema].get("properties", {}).items():
            if not field.get("deprecated"):
                found[name][kind_of(field)].add(schema)
    return found


def kind_of(field: Json) -> str:
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return "string" if "enum" in SCHEMAS[name] else name
    if "const" in field:
        return {str: "string", bool: "boolean", int: "integer"}[type(field["const"])]
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return "|".join(sorted({kind_of(one) for one in field[choice]} - {"null"}))
    kind = field.get("type", "anything")
    if kind == "array":
        return "[" + kind_of(field.get("items", {})) + "]"
    return str(kind)


HOMONYMS = {
    "details": "of the type that goes with an error's code",
    "status": "of an error the HTTP status; of a transaction or a daemon a word",
    "stats": "of a market, a wallet or votes, as the route says",
    "fees": "in the configuration rates, elsewhere amounts",
    "events": "in a trail with their places",
    "total": "the sum of what stands beside it: numbers, or amounts",
    "in_favour": "votes, or the stake behind them",
    "against": "votes, or the stake behind them",
    "missing": "votes, or lamports",
    "limit": "how many, or the name of the limit of a trade",
    "market": "the market itself, or why it is missing",
    "program": "the program itself",
    "open": "of a step whether it can be done; of a candle its first price",
    "by": "of a step who does it; of the leaderboard what it is ranked by",
    "wallet": "in the policy its limit",
    "rule": "of an alert its name; of counted votes what they were held to",
    "proposal_votes": "one's own, or all",
    "dispute_votes": "one's own, or all",
    "discussions": "comments as they are, or as a snapshot has them for ever",
}
"""Names that have two types, with what they mean."""
REPLACED = re.compile(
    "likes|dislikes|agrees?|disagrees?|.*_collected|yes_shares|no_shares|claimed|claim_amount|winning_outcome"
    "|total_pool|pool_left|total_trades|unique_traders|total_votes|ipfs_.*|[a-z]+[A-Z].*|time|type|user|author"
    "|.*_least_.*|creator|approval_rate"
)
ELSEWHERE = {("type", "ActivityBody"), ("creator", "CreatorDetails")}


def test_a_name_has_one_type_in_all_answers() -> None:
    several = {name for name, types in names_and_types().items() if len(types) > 1}
    assert several <= set(HOMONYMS), sorted(several - set(HOMONYMS))


def test_a_name_that_another_one_replaces_is_deprecated() -> None:
    left = {
        (name, schema)
        for name, types in names_and_types().items()
        if REPLACED.fullmatch(name)
        for schemas in types.values()
        for schema in schemas
    }
    assert left <= ELSEWHERE, sorted(left - ELSEWHERE)


def test_every_deprecated_field_says_what_has_the_same_value() -> None:
    unclear = [
        f"{schema}.{name}"
        for schema in SCHEMAS
        for name, field in SCHEMAS[schema].get("properties", {}).items()
        if field.get("deprecated") and not field.get("description")
    ]
    assert unclear == []


def test_amounts_that_answers_have_as_texts_are_texts_in_every_answer() -> None:
    for name in ("gross", "net", "shares", "claimable", "total_volume", "volume_24h", "current_liquidity"):
        assert set(names_and_types()[name]) == {"string"}, name


def test_every_time_in_an_answer_says_by_which_clock_it_is() -> None:
    silent = [
        f"{schema}.{name}"
        for schema in SCHEMAS
        if not schema.endswith("Request")
        for name, field in SCHEMAS[schema].get("properties", {}).items()
        if "date-time" in str(field) and not re.search("(chain|server)'s clock", field["description"])
    ]
    assert silent == []
