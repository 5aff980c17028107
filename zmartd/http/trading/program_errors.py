"""The reasons that a program or the chain gives for a refusal, looked up by their names."""

from __future__ import annotations

from itertools import chain

from zmartd.chain import failure_names
from zmartd.chain.failures import ProgramFailure
from zmartd.chain.idl import Idl

_CHAIN_ERRORS = failure_names.TRANSACTION | failure_names.INSTRUCTION
_FRAMEWORK_ERRORS = {
    name: (number, message)
    for number, (name, message) in chain(failure_names.SYSTEM.items(), failure_names.ANCHOR.items())
}


def failure_named(name: str, idl: Idl) -> ProgramFailure:
    """The failure that is called `name`, with its number and its words where anybody knows them."""
    own = next((error for error in idl.errors if error.name == name), None)
    if own is not None:
        return ProgramFailure(own.code, own.name, own.msg or own.name, None)
    if name in _FRAMEWORK_ERRORS:
        number, message = _FRAMEWORK_ERRORS[name]
        return ProgramFailure(number, name, message, None)
    message = _CHAIN_ERRORS.get(name, f"The chain refused the transaction with {name}.")
    return ProgramFailure(None, name, message, None)
