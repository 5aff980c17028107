"""The schemas of the program's events: one for each, and unions that tell them apart by `name`.

They are made from the layouts that the payloads of the index are made from, which are held to the IDL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from zmartd.chain import events
from zmartd.chain.wire import layout_of
from zmartd.http.markets.program_events import EVIDENCE_CID, EVIDENCE_HASH
from zmartd.http.openapi.schemas import Json, reference
from zmartd.indexer.events import rows

PROGRAM_EVENT = "ProgramEvent"
TRAIL_EVENT = "EventBody"

_U64: Json = {"type": "string", "pattern": "^[0-9]{1,20}$"}
_KINDS: tuple[type[Any], ...] = get_args(events.ProgramEvent)
_MEANINGS = {
    "market_id": "the market's id, 64 hexadecimal digits",
    "market": "the address of the market's account, base58",
    "timestamp": "unix seconds of the chain's clock",
    "cancelled_at": "unix seconds of the chain's clock",
    **dict.fromkeys(("creator", "resolver", "initiator", "admin", "backend_authority"), "an address, base58"),
    **dict.fromkeys(("approved_by", "cancelled_by", "paused_by"), "the address of who did it, base58"),
    "user": "the address of the wallet that acted, base58; shortened for anonymous callers",
    "from": "the address of the wallet that gave the shares, base58; shortened for anonymous callers",
    "to": "the address of the wallet that got the shares, base58; shortened for anonymous callers",
    "outcome": "true for YES, false for NO, null for none",
    "final_outcome": "true for YES, false for NO, null for none",
    "disputed_outcome": "the outcome that is disputed: true for YES, false for NO",
    "shares": "share units, nine decimals",
    "cost": "lamports that the user paid, fees included",
    "proceeds": "lamports that the user received, after fees",
    "new_price_yes": "the price of YES after the trade, with nine decimals: 1000000000 is 1 SOL a share",
    "amount": "lamports",
    "initial_liquidity": "lamports",
    "b_parameter": "the market's liquidity parameter b, nine decimals",
    "state": "the market's state as the program numbers it, from 0 for PROPOSED",
    "was_disputed": "whether the outcome was disputed",
    "evidence_hash": "the bytes of evidence_cid as they are on the chain, hexadecimal",
    "vote": "true to approve the proposal or to agree with the dispute",
    "likes": "votes for the proposal",
    "dislikes": "votes against the proposal",
    "agrees": "votes that agree with the dispute",
    "disagrees": "votes that disagree with the dispute",
    "approval_percentage": "whole percents of the votes",
    "agreement_percentage": "whole percents of the votes",
    "approved": "whether the threshold was reached",
    "dispute_succeeded": "whether the threshold was reached",
    "is_paused": "whether the protocol is paused",
    **dict.fromkeys(
        (
            *("protocol_fee_bps", "resolver_reward_bps", "liquidity_provider_fee_bps"),
            *("proposal_approval_threshold", "dispute_success_threshold"),
        ),
        "of the protocol's configuration, in basis points",
    ),
    **dict.fromkeys(
        ("min_resolution_delay", "dispute_period"), "of the protocol's configuration, in seconds"
    ),
}
"""What each field of an event is. Amounts and prices are text, since JavaScript's numbers end at 2^53."""
_EVIDENCE_CID: Json = {
    "anyOf": [{"type": "string"}, {"type": "null"}],
    "description": "the content id of the evidence; null where evidence_hash is not text",
}
_RECORDED_VOTES = frozenset({events.ProposalAggregated, events.DisputeAggregated})
_ADDED_BY_TRANSACTION: dict[type[Any], Json] = {
    events.MarketCreated: {
        "initial_liquidity": {**_U64, "description": "lamports, an argument of the instruction"},
        "question_cid": {"type": "string", "description": "the content id of the market's document"},
    },
    events.MarketFinalized: {
        "dispute_agree": {"type": "integer", "description": "the votes for the dispute, as recorded"},
        "dispute_disagree": {"type": "integer", "description": "the votes against the dispute, as recorded"},
    },
}
"""Optional fields of payloads: what the transaction says of the event besides its own fields."""


def of_transactions() -> Json:
    """A schema for each event, with its fields beside its `name`, and ProgramEvent for any of them."""
    named = {
        f"{kind.__name__}Event": (kind, _object({"name": _name(kind), **_own_fields(kind)}))
        for kind in _KINDS
    }
    said = (
        "An event of the program, told by its `name`. Its fields have the names that the program gives them."
    )
    return dict(_with_union(PROGRAM_EVENT, said, named))


def of_trails(shape: Json) -> Json:
    """A schema for each event in the trails of markets, and EventBody for any of them.

    `shape` is the schema of every event there, whose fields are in `data`.
    """
    named = {}
    for kind in filter(_is_in_trails, _KINDS):
        own, added = _own_fields(kind), _ADDED_BY_TRANSACTION.get(kind, {})
        data = {**_object(own), "properties": {**own, **added}}
        narrowed = {"name": _name(kind), "data": data}
        fields = {
            name: {"description": field["description"]} | narrowed.get(name, field)
            for name, field in shape["properties"].items()
        }
        named[f"{kind.__name__}InTrail"] = (kind, _object(fields))
    return dict(_with_union(TRAIL_EVENT, shape["description"], named))


def _is_in_trails(kind: type[Any]) -> bool:
    """As `zmartd.store.events` reads them."""
    table = rows.TABLE[kind]
    return (
        table == rows.MARKET_EVENTS
        or kind in _RECORDED_VOTES
        or (table == rows.ADMIN_EVENTS and "market_id" in kind.__struct_fields__)
    )


def _with_union(
    title: str, description: str, named: Mapping[str, tuple[type[Any], Json]]
) -> Iterator[tuple[str, Json]]:
    for name, (kind, schema) in named.items():
        said = {"description": kind.__doc__} if kind.__doc__ else {}
        yield name, {"title": name, **said, **schema}
    references = {kind.__name__: reference(name) for name, (kind, _) in named.items()}
    yield (
        title,
        {
            "title": title,
            "description": description,
            "oneOf": list(references.values()),
            "discriminator": {
                "propertyName": "name",
                "mapping": {name: one["$ref"] for name, one in references.items()},
            },
        },
    )


def _object(fields: Json) -> Json:
    return {"type": "object", "properties": fields, "required": list(fields)}


def _name(kind: type[Any]) -> Json:
    return {"const": kind.__name__, "description": "the event's name in the program's IDL"}


def _own_fields(kind: type[Any]) -> Json:
    own = {
        name: {**_schema(wire_type), "description": _MEANINGS[name]}
        for name, wire_type in layout_of(kind).types.items()
    }
    return own | ({EVIDENCE_CID: _EVIDENCE_CID} if EVIDENCE_HASH in own else {})


def _schema(wire_type: str) -> Json:
    """The schema of what `zmartd.indexer.events.payloads` makes of a wire type."""
    if wire_type.startswith("option<"):
        return {"anyOf": [_schema(wire_type.removeprefix("option<").removesuffix(">")), {"type": "null"}]}
    match wire_type:
        case "bool":
            return {"type": "boolean"}
        case "pubkey":
            return {"type": "string"}
        case "u64":
            return dict(_U64)
        case "i64":
            return {"type": "integer", "format": "int64"}
        case "u8" | "u16" | "u32":
            return {"type": "integer", "minimum": 0}
    size = int(wire_type.removeprefix("[u8; ").removesuffix("]"))
    return {"type": "string", "pattern": f"^[0-9a-f]{{{2 * size}}}$"}
