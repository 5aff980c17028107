from __future__ import annotations

import random
from typing import Any, get_args

import msgspec
import pytest
from solders.pubkey import Pubkey

from zmartd.chain.events import MarketCreated, ProgramEvent
from zmartd.chain.wire import Layout
from zmartd.indexer.events.event_context import EventContext
from zmartd.indexer.events.payloads import context_from_payload, event_from_payload, payload_json
from zmartd.indexer.events.rows import TABLE

KINDS = get_args(ProgramEvent)


def some_value(rng: random.Random, wire_type: str) -> Any:
    match wire_type.removeprefix("option<").removesuffix(">"):
        case "pubkey":
            return Pubkey.from_bytes(rng.randbytes(32))
        case "bool":
            return rng.random() < 0.5
        case text if text.startswith("[u8; "):
            return rng.randbytes(int(text.removeprefix("[u8; ").removesuffix("]")))
        case text:
            bits = int(text[1:])
            return rng.randrange(2 ** (bits - (text[0] == "i")))


def some_event(rng: random.Random, kind: type[Any], *, options: bool) -> ProgramEvent:
    values = [
        some_value(rng, wire_type) if options or not wire_type.startswith("option<") else None
        for wire_type in Layout(kind).types.values()
    ]
    event: ProgramEvent = kind(*values)
    return event


def test_every_event_has_a_table() -> None:
    assert set(TABLE) == set(KINDS)


@pytest.mark.parametrize("options", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_event_comes_back_from_its_row_as_it_was(kind: type[Any], options: bool) -> None:
    rng = random.Random(kind.__name__)
    context = EventContext()
    for _ in range(20):
        event = some_event(rng, kind, options=options)
        fields = msgspec.json.decode(payload_json(event, context))
        assert event_from_payload(kind.__name__, fields) == event
        assert context_from_payload(event, fields) == context


def test_what_was_said_aside_comes_back_too() -> None:
    context = EventContext(
        resolver_fee=2**64 - 1,
        initial_liquidity=2**63,
        question_cid="Qm",
        dispute_agree=0,
        dispute_disagree=7,
    )
    event = some_event(random.Random(1), MarketCreated, options=True)
    assert context_from_payload(event, msgspec.json.decode(payload_json(event, context))) == context


def test_an_events_own_initial_liquidity_is_nothing_said_aside() -> None:
    (activated,) = [kind for kind in KINDS if kind.__name__ == "MarketActivated"]
    event = some_event(random.Random(1), activated, options=True)
    assert (
        context_from_payload(event, msgspec.json.decode(payload_json(event, EventContext())))
        == EventContext()
    )
