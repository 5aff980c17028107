"""Explains why a transaction failed, from the runtime's error and the logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec import Struct

from zmartd.chain import failure_names
from zmartd.chain.idl import ErrorCode, Idl
from zmartd.errors import ZmartdError

SYSTEM_PROGRAM_ID = "1" * 32
MAX_NAME_LENGTH = 64

_FAILED = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) failed: ")
_ANCHOR_ACCOUNT = re.compile(r"Program log: AnchorError caused by account: ([a-z_0-9]{1,64})\. ")
_IDENTIFIER = re.compile(rf"[A-Za-z][A-Za-z0-9]{{0,{MAX_NAME_LENGTH - 1}}}")

_CHAIN_ERRORS = failure_names.TRANSACTION | failure_names.INSTRUCTION
_FRAMEWORK_ERRORS = {
    name: (number, message)
    for number, (name, message) in chain(failure_names.SYSTEM.items(), failure_names.ANCHOR.items())
}


class ProgramFailure(Struct, frozen=True):
    """Why a transaction failed. `code` is the program's error number, if it gave one; `name` is stable."""

    code: int | None
    name: str
    message: str
    instruction_index: int | None


class ProgramRefused(ZmartdError):
    """The program refuses this. Error and code are the program's own name for the reason."""

    code = "program_refused"

    def __init__(self, failure: ProgramFailure, **details: Any) -> None:
        super().__init__(failure.message, program_error=failure.code, **details)
        self.failure = failure


def explain_failure(err: object, logs: Sequence[object] | None, idl: Idl) -> ProgramFailure:
    """Explain the JSON `err` of a transaction, a status or a simulation.

    `logs` show which program failed, so that another program's error number is not taken for ours; without
    them the number decides. Never raises, whatever it is given.
    """
    match err:
        case {"InstructionError": [int(index), {"Custom": int(code)}]}:
            return _custom(code, index, logs or (), idl)
        case {"InstructionError": [int(index), str(name)]}:
            return _named(name, failure_names.INSTRUCTION, index)
        case {"InstructionError": [int(index), dict(detail)]} if detail:
            return _named(_first_key(detail), failure_names.INSTRUCTION, index)
        case str(name):
            return _named(name, failure_names.TRANSACTION, None)
        case dict(detail) if detail:
            return _named(_first_key(detail), failure_names.TRANSACTION, None)
    return _named("", failure_names.TRANSACTION, None)


def failure_named(name: str, idl: Idl) -> ProgramFailure:
    """The failure that is called `name`, with its number and its message where they are known."""
    own = next((error for error in idl.errors if error.name == name), None)
    if own is not None:
        return ProgramFailure(own.code, own.name, _own_message(own), None)
    if name in _FRAMEWORK_ERRORS:
        number, message = _FRAMEWORK_ERRORS[name]
        return ProgramFailure(number, name, message, None)
    message = _CHAIN_ERRORS.get(name, f"The chain refused the transaction with {name}.")
    return ProgramFailure(None, name, message, None)


def node_refused(message: str) -> ProgramFailure:
    """The failure of a transaction that a node rejected without simulating it; `message` is the node's."""
    return ProgramFailure(None, "NodeRefused", message, None)


_STATE = (
    "The market is not in the state for this, or not at this time: `next` in GET /api/markets/{id} says what "
    "can happen with it now."
)
_OWN_MESSAGES = {
    **dict.fromkeys(("InvalidStateTransition", "InvalidMarketState", "InvalidStateForVoting"), _STATE),
    **dict.fromkeys(("AlreadyResolved", "AlreadyDisputed", "CannotCancelMarket"), _STATE),
    **dict.fromkeys(("DisputePeriodEnded", "DisputePeriodNotEnded", "InvalidTimestamp"), _STATE),
}
"""What the program says of a market's state, for callers where it is not known which market it is."""

_MISSING = {
    ("AccountNotInitialized", "position"): "This wallet has never held shares in this market.",
    ("AccountNotInitialized", "market"): "There is no such market on the chain yet.",
}
"""What a missing account means for a caller."""


def _custom(code: int, index: int, logs: Sequence[object], idl: Idl) -> ProgramFailure:
    program = _failed_program(logs)
    if program in (None, idl.address):
        own = idl.error(code)
        if own is not None:
            return ProgramFailure(code, own.name, _own_message(own), index)
        known = failure_names.ANCHOR.get(code)
        if known is not None:
            account = _anchor_account(logs)
            name, message = known
            if account is not None:
                message = _MISSING.get((name, account), f"{message} Account: {account}.")
            return ProgramFailure(code, name, message, index)
    if program in (None, SYSTEM_PROGRAM_ID) and code in failure_names.SYSTEM:
        name, message = failure_names.SYSTEM[code]
        return ProgramFailure(code, name, message, index)
    by = f"program {program}" if program else "a program"
    return ProgramFailure(code, "CustomProgramError", f"{by} failed with its error {code}.", index)


def _own_message(error: ErrorCode) -> str:
    return _OWN_MESSAGES.get(error.name) or failure_names.CURVE.get(error.name) or error.msg or error.name


def _failed_program(logs: Sequence[object]) -> str | None:
    """The innermost failing program: the first line that reports a failure. Its callers' lines follow."""
    for line in logs:
        match = _FAILED.match(line) if isinstance(line, str) else None
        if match:
            return match[1]
    return None


def _anchor_account(logs: Sequence[object]) -> str | None:
    for line in logs:
        match = _ANCHOR_ACCOUNT.match(line) if isinstance(line, str) else None
        if match:
            return match[1]
    return None


def _first_key(detail: dict[Any, Any]) -> str:
    return str(next(iter(detail)))


def _named(name: str, messages: dict[str, str], index: int | None) -> ProgramFailure:
    if not _IDENTIFIER.fullmatch(name):
        return ProgramFailure(None, "UnknownError", "the chain refused the transaction.", index)
    message = messages.get(name, f"the chain refused the transaction with {name}.")
    return ProgramFailure(None, name, message, index)
