"""Logs and transactions as the runtime writes them, built by the calls that programs make."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from solders.pubkey import Pubkey

from zmartd.chain.codec import Codec
from zmartd.chain.events import ProgramEvent
from zmartd.chain.idl import default_idl
from zmartd.chain.transactions import ChainTransaction, parse_transaction

IDL = default_idl()
CODEC = Codec(IDL)
OURS = IDL.address
SYSTEM = "1" * 32
STRANGER = str(Pubkey([7] * 32))
BUDGET = "ComputeBudget111111111111111111111111111111"
SIGNATURE = "5" * 88


def data_line(payload: bytes) -> str:
    return "Program data: " + base64.b64encode(payload).decode()


def event_line(event: ProgramEvent) -> str:
    return data_line(CODEC.encode_event(event))


def frame(program: str, *lines: str | list[str], depth: int = 1) -> list[str]:
    """What one run of `program` logs; a nested list is another frame, one level deeper."""
    out = [f"Program {program} invoke [{depth}]"]
    for line in lines:
        out += line if isinstance(line, list) else [line]
    return [*out, f"Program {program} consumed 5000 of 200000 compute units", f"Program {program} success"]


def runs_of(program: str, logs: Sequence[str]) -> int:
    return sum(line.startswith(f"Program {program} invoke [") for line in logs)


def raw(
    logs: Sequence[Any] | None,
    *,
    err: object = None,
    instructions: list[dict[str, Any]] | None = None,
    inner: list[dict[str, Any]] | None = None,
    runs: int | None = None,
    **top: Any,
) -> dict[str, Any]:
    """getTransaction's JSON; unless told otherwise with one instruction for each of our runs in the logs."""
    count = runs_of(OURS, [line for line in logs or () if isinstance(line, str)]) if runs is None else runs
    own = [{"programIdIndex": 2, "accounts": [0, 1], "data": "5jRcjdixRUDVdmVzK1xYzZ"}] * count
    return {
        "slot": 77,
        "blockTime": 1_760_000_000,
        "meta": {
            "err": err,
            "logMessages": None if logs is None else list(logs),
            "innerInstructions": [{"index": 0, "instructions": inner or []}],
            "loadedAddresses": {"writable": [], "readonly": []},
        },
        "transaction": {
            "signatures": [SIGNATURE],
            "message": {
                "accountKeys": [str(Pubkey([1] * 32)), str(Pubkey([2] * 32)), OURS, SYSTEM, STRANGER],
                "instructions": own if instructions is None else instructions,
            },
        },
        "version": "legacy",
        **top,
    }


def parsed(*args: Any, **kwargs: Any) -> ChainTransaction:
    return parse_transaction(raw(*args, **kwargs), IDL.program_id, CODEC)
