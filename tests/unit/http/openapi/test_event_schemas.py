from __future__ import annotations

import json
from typing import Any, get_args

import jsonschema_rs
import pytest
from solders.pubkey import Pubkey

from zmartd.chain.events import MarketCreated, ProgramEvent
from zmartd.chain.idl import default_idl
from zmartd.chain.wire import Layout
from zmartd.http.markets.program_events import event_fields
from zmartd.http.openapi.document import openapi
from zmartd.http.routes import OPERATIONS
from zmartd.indexer.events.event_context import NO_CONTEXT, EventContext
from zmartd.indexer.events.payloads import payload, payload_json

DOCUMENT = openapi(OPERATIONS, default_idl())
KINDS: tuple[type[Any], ...] = get_args(ProgramEvent)
PLACE: dict[str, Any] = {
    "tx_signature": "5",
    "event_index": 0,
    "slot": 1,
    "occurred_at": None,
    "actor": None,
    "commitment": "finalized",
}
CREATION = EventContext(initial_liquidity=10, question_cid="Qm")


def largest(kind: type[Any], *, with_options: bool) -> ProgramEvent:
    """An event whose fields have the largest values of their wire types."""
    values: list[Any] = []
    for wire_type in Layout(kind).types.values():
        match wire_type.removeprefix("option<").removesuffix(">"):
            case _ if wire_type.startswith("option<") and not with_options:
                values.append(None)
            case "bool":
                values.append(True)
            case "pubkey":
                values.append(Pubkey([255] * 32))
            case name if name.startswith("[u8"):
                values.append(bytes([255]) * int(name[5:-1]))
            case name:
                values.append(2 ** (int(name[1:]) - (name[0] == "i")) - 1)
    event: ProgramEvent = kind(*values)
    return event


def validator(name: str) -> Any:
    """Of the component `name`, without fields that are not documented."""
    closed = json.loads(json.dumps({"components": DOCUMENT["components"]}))
    for schema in closed["components"]["schemas"].values():
        for each in (schema, schema.get("properties", {}).get("data", {})):
            if "properties" in each:
                each["additionalProperties"] = False
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", **closed})


@pytest.mark.parametrize("with_options", [True, False])
def test_every_event_of_the_program_is_described_as_the_index_has_it(with_options: bool) -> None:
    valid = validator("ProgramEvent")
    for kind in KINDS:
        event = {"name": kind.__name__, **event_fields(payload(largest(kind, with_options=with_options)))}
        valid.validate(event)
        for field in event:
            assert not valid.is_valid({name: event[name] for name in event if name != field}), (kind, field)
        assert not valid.is_valid({**event, "another": 1}), kind
    assert not valid.is_valid({"name": "Unheard"})


def test_an_event_of_a_trail_is_told_by_its_name_and_has_what_its_transaction_adds() -> None:
    valid, union = validator("EventBody"), DOCUMENT["components"]["schemas"]["EventBody"]
    kinds = [kind for kind in KINDS if kind.__name__ in union["discriminator"]["mapping"]]
    assert len(kinds) == len(union["oneOf"]) == 9
    for kind in kinds:
        event = largest(kind, with_options=True)
        context = CREATION if kind is MarketCreated else NO_CONTEXT
        data = event_fields(json.loads(payload_json(event, context)))
        told = {"name": kind.__name__, **PLACE, "data": data}
        valid.validate(told)
        assert not valid.is_valid({**told, "name": "Unheard"})
        assert not valid.is_valid({**told, "data": {**data, "another": 1}}), kind
        assert not valid.is_valid({**told, "data": {}}), kind
