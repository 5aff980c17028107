"""Hypothesis strategies for what the chain can contain."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from zmartd.chain.accounts import ACCOUNTS
from zmartd.chain.events import ProgramEvent
from zmartd.chain.wire import Layout
from zmartd.market.lifecycle import MarketState, VoteKind

EVENTS: tuple[type[Any], ...] = get_args(ProgramEvent)

pubkeys = st.binary(min_size=32, max_size=32).map(Pubkey)

_INTEGERS = {
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
    "i64": (-(2**63), 2**63 - 1),
}


def _values(kind: str) -> st.SearchStrategy[Any]:
    if kind.startswith("option<"):
        return st.none() | _values(kind.removeprefix("option<").removesuffix(">"))
    if kind.startswith("[u8; "):
        length = int(kind.removeprefix("[u8; ").removesuffix("]"))
        return st.binary(min_size=length, max_size=length)
    if kind.startswith("enum<Proposed"):
        return st.sampled_from(MarketState)
    if kind.startswith("enum<"):
        return st.sampled_from(VoteKind)
    if kind == "bool":
        return st.booleans()
    if kind == "pubkey":
        return pubkeys
    low, high = _INTEGERS[kind]
    return st.integers(low, high)


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    types = Layout(kind).types.values()
    names = [field.name for field in msgspec.structs.fields(kind)]
    fields = {name: _values(wire_type) for name, wire_type in zip(names, types, strict=True)}
    return st.builds(kind, **fields)


events = st.sampled_from(EVENTS).flatmap(instances)
accounts = st.sampled_from(ACCOUNTS).flatmap(instances)
