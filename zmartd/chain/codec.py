"""Event payloads to typed events and back, for one IDL."""

from __future__ import annotations

from typing import Any, get_args

from zmartd.chain import events
from zmartd.chain.accounts import ACCOUNTS
from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.events import ProgramEvent
from zmartd.chain.idl import Idl, IdlError
from zmartd.chain.wire import Layout, UndecodableData, layout_of


class Codec:
    """Reads what the program emits. Its construction proves that the IDL and our structs agree.

    Raises IdlError naming the first account or event, and the field, where they differ. Events that the IDL
    names and this version does not know are no error: they decode as unknown, and are kept for later.
    """

    def __init__(self, idl: Idl) -> None:
        self.idl = idl
        for account in ACCOUNTS:
            _check(idl, "accounts", {item.name for item in idl.accounts}, layout_of(account))
        emitted = {item.name for item in idl.events}
        self._layouts: dict[type[Any], tuple[bytes, Layout[Any]]] = {}
        self._by_discriminator: dict[bytes, Layout[Any]] = {}
        for kind in get_args(ProgramEvent):
            layout: Layout[Any] = layout_of(kind)
            if kind.__name__ in emitted or kind.__name__ not in events.OUTSIDE_THE_IDL:
                _check(idl, "events", emitted, layout)
            prefix = discriminator("event", kind.__name__)
            self._layouts[kind] = prefix, layout
            self._by_discriminator[prefix] = layout
        self._unknown = {bytes(item.discriminator): item.name for item in idl.events}

    def decode_event(self, data: bytes) -> ProgramEvent:
        """The event that `data` (discriminator, then fields, and nothing more) is.

        Raises UndecodableData saying why it is none.
        """
        prefix = data[:DISCRIMINATOR_BYTES]
        layout = self._by_discriminator.get(prefix)
        if layout is None:
            raise UndecodableData(self._why_unknown(prefix))
        event: ProgramEvent
        event, end = layout.unpack(data, DISCRIMINATOR_BYTES)
        if end != len(data):
            raise UndecodableData(f"{type(event).__name__}: {len(data) - end} bytes too many")
        return event

    def encode_event(self, event: ProgramEvent) -> bytes:
        """The bytes that the program logs for `event`. Raises ValueError where a value does not fit."""
        prefix, layout = self._layouts[type(event)]
        return prefix + layout.pack(event)

    def _why_unknown(self, prefix: bytes) -> str:
        if len(prefix) < DISCRIMINATOR_BYTES:
            return f"{len(prefix)} bytes are too few for an event"
        name = self._unknown.get(prefix)
        if name is not None:
            return f"the IDL calls it {name}, which this version of zmartd does not know"
        return f"no event of the IDL has the discriminator {prefix.hex()}"


def _check(idl: Idl, section: str, names: set[str], layout: Layout[Any]) -> None:
    name = layout.kind.__name__
    if name not in names:
        raise IdlError(f"{section}.{name}: is missing from the IDL; zmartd cannot work without it")
    ours, theirs = layout.types, idl.fields_of(name)
    for field, kind in ours.items():
        if theirs.get(field) != kind:
            given = theirs.get(field, "missing")
            raise IdlError(f"{section}.{name}.{field}: must be {kind}, but the IDL says {given}")
    if list(ours) != list(theirs):
        raise IdlError(
            f"{section}.{name}: the fields must be {', '.join(ours)}; the IDL has {', '.join(theirs)}"
        )
