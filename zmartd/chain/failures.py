"""Explains why a transaction failed, from the runtime's error and the logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from zmartd.chain import failure_names
from zmartd.chain.failure_names import in_full
from zmartd.chain.idl import ErrorCode, Idl
from zmartd.errors import DetailedError
from zmartd.market.errors import NO_TERMS, TradeTerms

SYSTEM_PROGRAM_ID = "1" * 32
MAX_NAME_LENGTH = 64

_FAILED = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) failed: ")
_ANCHOR_ACCOUNT = re.compile(r"Program log: AnchorError caused by account: ([a-z_0-9]{1,64})\. ")
_IDENTIFIER = re.compile(rf"[A-Za-z][A-Za-z0-9]{{0,{MAX_NAME_LENGTH - 1}}}")

UNKNOWN_ERROR = "UnknownError"
_OTHER_NAMES = ("CustomProgramError", "NodeRefused", "TradeTooLarge", UNKNOWN_ERROR)
"""Names that are given here, where neither the program nor the chain gives one."""
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


class ProgramErrorDetails(TradeTerms, frozen=True, kw_only=True):
    """What the program, or the chain, refuses. Of a trade its terms."""

    program_error: int | None
    """The number of the program's error; null where it has none: the chain's errors, and `TradeTooLarge`."""
    signature: str | UnsetType = UNSET
    """The signature of the transaction, base58; left out before one is signed."""


class ProgramRefused(DetailedError[ProgramErrorDetails]):
    """The program, or the chain, refuses this: `error` is its own name for the reason, `code` that name in
    snake_case.
    """

    code = "program_refused"

    def __init__(
        self,
        failure: ProgramFailure,
        *,
        signature: str | UnsetType = UNSET,
        terms: TradeTerms = NO_TERMS,
    ) -> None:
        facts = structs.asdict(terms)
        super().__init__(
            ProgramErrorDetails(program_error=failure.code, signature=signature, **facts), failure.message
        )
        self.failure = failure

    @property
    def name(self) -> str:
        """The failure's name if it is one of `refusal_names`, else UNKNOWN_ERROR: newer nodes have others."""
        name, number = self.failure.name, self.failure.code
        is_known = number is not None or name in _CHAIN_ERRORS or name in _OTHER_NAMES
        return name if is_known else UNKNOWN_ERROR


def refusal_names(idl: Idl) -> list[str]:
    """All names that a refusal can have: the program's, Anchor's, the chain's, and those given here."""
    names = (*(error.name for error in idl.errors), *_FRAMEWORK_ERRORS, *_CHAIN_ERRORS, *_OTHER_NAMES)
    return list(dict.fromkeys(names))


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
        number, text = _FRAMEWORK_ERRORS[name]
        return ProgramFailure(number, name, in_full(text), None)
    return ProgramFailure(None, name, in_full(_CHAIN_ERRORS.get(name, _UNKNOWN)), None)


def node_refused(message: str) -> ProgramFailure:
    """The failure of a transaction that a node rejected without simulating it; `message` is the node's."""
    return ProgramFailure(None, "NodeRefused", message, None)


_UNKNOWN = "The chain refused the transaction"
_MISSING = {
    "position": "This wallet has never held shares in this market, so it has nothing to sell or to claim;"
    " check the market and the wallet",
    "market": "There is no such market on the chain yet; have its creator send what creates it",
    "global_config": "The program is not set up on this cluster; tell the operator",
}
"""What a missing account means for a caller."""


def _own_message(error: ErrorCode) -> str:
    """The text of an error of our program. One that a newer IDL brings is told as the IDL tells it."""
    return in_full(failure_names.PROGRAM.get(error.name) or error.msg or _UNKNOWN)


def _custom(code: int, index: int, logs: Sequence[object], idl: Idl) -> ProgramFailure:
    program = _failed_program(logs)
    if program in (None, idl.address):
        own = idl.error(code)
        if own is not None:
            return ProgramFailure(code, own.name, _own_message(own), index)
        known = failure_names.ANCHOR.get(code)
        if known is not None:
            name, text = known
            if name == "AccountNotInitialized":
                text = _MISSING.get(_anchor_account(logs) or "", text)
            return ProgramFailure(code, name, in_full(text), index)
    if program in (None, SYSTEM_PROGRAM_ID) and code in failure_names.SYSTEM:
        name, text = failure_names.SYSTEM[code]
        return ProgramFailure(code, name, in_full(text), index)
    by = f"The program {program}" if program else "A program"
    text = f"{by}, which the transaction calls, failed with its error {code}; leave its instruction out"
    return ProgramFailure(code, "CustomProgramError", in_full(text), index)


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
        return ProgramFailure(None, UNKNOWN_ERROR, in_full(_UNKNOWN), index)
    return ProgramFailure(None, name, in_full(messages.get(name, _UNKNOWN)), index)
