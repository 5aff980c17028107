"""Why a transaction failed, in words: from the runtime's error and the logs that led to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from zmartd.chain import failure_names
from zmartd.chain.idl import Idl

SYSTEM_PROGRAM_ID = "1" * 32
MAX_NAME_LENGTH = 64

_FAILED = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) failed: ")
_ANCHOR_ACCOUNT = re.compile(r"Program log: AnchorError caused by account: ([a-z_0-9]{1,64})\. ")
_IDENTIFIER = re.compile(rf"[A-Za-z][A-Za-z0-9]{{0,{MAX_NAME_LENGTH - 1}}}")


class ProgramFailure(Struct, frozen=True):
    """One reason: `code` is the program's error number where it gave one, `name` is stable."""

    code: int | None
    name: str
    message: str
    instruction_index: int | None


def explain_failure(err: object, logs: Sequence[object] | None, idl: Idl) -> ProgramFailure:
    """Explain the JSON `err` of a transaction, a status or a simulation.

    `logs` tell which program failed, so that another program's error number is not taken for ours; without
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


def node_refused(message: str) -> ProgramFailure:
    """A node would not even try the transaction: it says why in `message`."""
    return ProgramFailure(None, "NodeRefused", message, None)


_MISSING = {
    ("AccountNotInitialized", "position"): "This wallet has never held shares in this market.",
    ("AccountNotInitialized", "market"): "There is no such market on the chain yet.",
}
"""What it means for a caller that an account is not there."""


def _custom(code: int, index: int, logs: Sequence[object], idl: Idl) -> ProgramFailure:
    program = _failed_program(logs)
    if program in (None, idl.address):
        own = idl.error(code)
        if own is not None:
            return ProgramFailure(code, own.name, own.msg or own.name, index)
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
