"""Conversion of events to the JSON in their rows, and back.

Addresses are base58, bytes are hex, u64 are decimal strings. The event's context is stored among its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from solders.pubkey import Pubkey

from zmartd.chain.events import ProgramEvent
from zmartd.chain.wire import Layout
from zmartd.indexer.events.event_context import EVENTS_WITH_CONTEXT, NO_CONTEXT, EventContext

_Convert = Callable[[Any], Any]
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(ProgramEvent)}


def _conversions(wire_type: str) -> tuple[_Convert, _Convert] | None:
    """The functions to JSON and back; None for types that JSON holds as they are."""
    match wire_type.removeprefix("option<").removesuffix(">"):
        case "pubkey":
            return str, Pubkey.from_string
        case "u64":
            return str, int
        case name if name.startswith("[u8"):
            return bytes.hex, bytes.fromhex
        case _:
            return None


def _fields(kind: type[Any]) -> tuple[tuple[str, str, tuple[_Convert, _Convert] | None], ...]:
    """The attributes of an event type, each with its name in JSON and its conversions."""
    types = Layout(kind).types.items()
    return tuple(
        (name, written, _conversions(wire_type))
        for name, (written, wire_type) in zip(kind.__struct_fields__, types, strict=True)
    )


_FIELDS = {kind: _fields(kind) for kind in _KINDS.values()}


def payload(event: ProgramEvent) -> dict[str, Any]:
    """The event's own fields as JSON values, without its context."""
    return {
        written: value if value is None or converts is None else converts[0](value)
        for name, written, converts in _FIELDS[type(event)]
        for value in (getattr(event, name),)
    }


def payload_json(event: ProgramEvent, context: EventContext) -> str:
    """The payload of an event's row."""
    fields = payload(event)
    if context is not NO_CONTEXT:
        fields |= _context_fields(context)
    return msgspec.json.encode(fields).decode()


def event_from_payload(event_type: str, fields: Mapping[str, Any]) -> ProgramEvent:
    """The event with this payload. Raises KeyError for an unknown type or a missing field."""
    kind = _KINDS[event_type]
    event: ProgramEvent = kind(
        *(
            value if value is None or converts is None else converts[1](value)
            for _, written, converts in _FIELDS[kind]
            for value in (fields[written],)
        )
    )
    return event


def context_from_payload(event: ProgramEvent, fields: Mapping[str, Any]) -> EventContext:
    """The context of an event, from its payload."""
    return (
        msgspec.convert(fields, EventContext, strict=False)
        if type(event) in EVENTS_WITH_CONTEXT
        else NO_CONTEXT
    )


def _context_fields(context: EventContext) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if context.resolver_fee:
        fields["resolver_fee"] = str(context.resolver_fee)
    if context.initial_liquidity is not None:
        fields["initial_liquidity"] = str(context.initial_liquidity)
    for name in ("question_cid", "dispute_agree", "dispute_disagree"):
        if (value := getattr(context, name)) is not None:
            fields[name] = value
    return fields
