"""What a transaction asked of the program, in the order in which it was done.

Logs can be cut off, instructions cannot. Each instruction of the program says one event, so the place of a
call among the program's calls is the ordinal of its event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.interface import INTERFACE, Instruction
from zmartd.chain.raw import RawInstruction, RawTransaction
from zmartd.chain.wire import UndecodableData, layout_of
from zmartd.market import ids


class Call(Struct, frozen=True):
    """One instruction that the program ran, with its accounts by the names of the interface.

    `instruction` is None where it has no name here, or cannot be read.
    """

    ordinal: int
    name: str
    instruction: Instruction | None
    accounts: Mapping[str, Pubkey]


_FORMS = {
    discriminator("global", name): (name, form.accounts, layout_of(form.arguments))
    for name, form in INTERFACE.items()
}
_UNKNOWN = "unknown"


def read_calls(transaction: RawTransaction, program: str) -> tuple[Call, ...] | None:
    """The calls of `program` in a transaction that succeeded.

    None where the node has not kept what programs called.
    """
    if transaction.meta.inner_instructions is None:
        return None
    keys = transaction.keys()
    own = (one for one in _executed(transaction) if one.program(keys) == program)
    return tuple(_call(ordinal, instruction, keys) for ordinal, instruction in enumerate(own))


def _executed(transaction: RawTransaction) -> Iterator[RawInstruction]:
    """All instructions, each followed by those that it led to."""
    inner = transaction.meta.inner_instructions or []
    for index, instruction in enumerate(transaction.transaction.message.instructions):
        yield instruction
        for group in inner:
            if group.index == index:
                yield from group.instructions


def _call(ordinal: int, instruction: RawInstruction, keys: list[str]) -> Call:
    try:
        data = ids.base58_decode(instruction.data)
        name, names, layout = _FORMS[data[:DISCRIMINATOR_BYTES]]
        arguments, _ = layout.unpack(data, DISCRIMINATOR_BYTES)
        addresses = [Pubkey.from_string(address) for address in instruction.addresses(keys)]
        return Call(ordinal, name, arguments, dict(zip(names, addresses[: len(names)], strict=True)))
    except (ValueError, KeyError, UndecodableData):
        return Call(ordinal, _UNKNOWN, None, {})
