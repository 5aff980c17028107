"""The program's interface, read from an Anchor IDL (spec 0.1.0) and checked before anything relies on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.discriminators import discriminator
from zmartd.errors import ZmartdError

MAX_IDL_BYTES = 1_048_576
MAX_TYPE_DEPTH = 8

_INTEGERS = frozenset(f"{sign}{bits}" for sign in "ui" for bits in (8, 16, 32, 64, 128, 256))
_PRIMITIVES = _INTEGERS | {"bool", "pubkey", "string", "bytes", "f32", "f64"}

Name = Annotated[str, Meta(min_length=1, max_length=128)]
WireType = str | dict[str, Any]
"""As the IDL writes it: a primitive's name, or an object with `option`, `array`, `vec` or `defined`."""


class IdlError(ZmartdError):
    """The IDL cannot be used."""

    code = "invalid_idl"


class Named(Struct, frozen=True):
    """An instruction, account or event with the bytes that identify it."""

    name: Name
    discriminator: tuple[Annotated[int, Meta(ge=0, le=255)], ...]


class IdlField(Struct, frozen=True):
    name: Name
    type: WireType


class InstructionAccount(Struct, frozen=True):
    """One account that an instruction needs; `address` where it is always the same."""

    name: Name
    writable: bool = False
    signer: bool = False
    address: str | None = None


class Instruction(Named, frozen=True):
    accounts: tuple[InstructionAccount, ...]
    args: tuple[IdlField, ...]


class Variant(Struct, frozen=True):
    name: Name


class Definition(Struct, frozen=True):
    """The body of a type: `fields` of a struct or `variants` of an enum without payload."""

    kind: Literal["struct", "enum"]
    fields: tuple[IdlField, ...] = ()
    variants: tuple[Variant, ...] = ()


class TypeDefinition(Struct, frozen=True):
    name: Name
    type: Definition


class ErrorCode(Struct, frozen=True):
    """An error of the program: its number, stable name and message."""

    code: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    name: Name
    msg: str = ""


class Metadata(Struct, frozen=True):
    name: Name
    version: str
    spec: str


class Idl(Struct, frozen=True):
    """A checked IDL. `address` is the program's id as base58."""

    address: str
    metadata: Metadata
    instructions: tuple[Instruction, ...]
    accounts: tuple[Named, ...]
    events: tuple[Named, ...]
    errors: tuple[ErrorCode, ...]
    types: tuple[TypeDefinition, ...]

    @property
    def program_id(self) -> Pubkey:
        return Pubkey.from_string(self.address)

    def error(self, code: int) -> ErrorCode | None:
        """The program's own error with this number."""
        return next((error for error in self.errors if error.code == code), None)

    def fields_of(self, name: str) -> dict[str, str]:
        """The fields of a struct type and their wire types in words, in order."""
        return {field.name: self.words(field.type) for field in self._definition(name).fields}

    def words(self, kind: WireType, depth: int = 0) -> str:
        """A type in words: `u64`, `[u8; 32]`, `option<bool>`, `enum<Yes, No>`, a struct's name.

        Raises IdlError when the type does not exist.
        """
        if depth > MAX_TYPE_DEPTH:
            raise IdlError(f"a type is nested deeper than {MAX_TYPE_DEPTH} levels")
        match kind:
            case str() if kind in _PRIMITIVES:
                return kind
            case {"option": inner}:
                return f"option<{self.words(inner, depth + 1)}>"
            case {"vec": inner}:
                return f"vec<{self.words(inner, depth + 1)}>"
            case {"array": [inner, int(length)]}:
                return f"[{self.words(inner, depth + 1)}; {length}]"
            case {"defined": {"name": str(name)}}:
                definition = self._definition(name)
                variants = ", ".join(variant.name for variant in definition.variants)
                return f"enum<{variants}>" if definition.kind == "enum" else name
        raise IdlError(f"{kind!r} is not a type of IDL spec 0.1.0")

    def _definition(self, name: str) -> Definition:
        for definition in self.types:
            if definition.name == name:
                return definition.type
        raise IdlError(f"types: there is no type {name!r}, though something refers to it")


def load_idl(source: Path | bytes, program_id: str | None = None) -> Idl:
    """Read and check an IDL, for the deployment at `program_id` where one is given.

    Raises IdlError naming the item and the rule it breaks.
    """
    content = source if isinstance(source, bytes) else _read(source)
    if len(content) > MAX_IDL_BYTES:
        raise IdlError(f"the IDL has {len(content)} bytes; at most {MAX_IDL_BYTES} are read")
    try:
        idl = msgspec.json.decode(content, type=Idl)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise IdlError(f"this is not an Anchor IDL of spec 0.1.0: {error}") from error
    if program_id is not None:
        idl = msgspec.structs.replace(idl, address=program_id)
    _check(idl)
    return idl


def default_idl(program_id: str | None = None) -> Idl:
    """The IDL that comes with zmartd, for the deployment at `program_id` where one is given."""
    return load_idl(resources.files("zmartd.chain").joinpath("idl/zmart_core.json").read_bytes(), program_id)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_IDL_BYTES + 1)
    except OSError as error:
        raise IdlError(f"{path}: the IDL cannot be read: {error.strerror}") from error


def _check(idl: Idl) -> None:
    if idl.metadata.spec != "0.1.0":
        raise IdlError(f"metadata.spec: only 0.1.0 is understood, this IDL is of spec {idl.metadata.spec!r}")
    try:
        Pubkey.from_string(idl.address)
    except ValueError as error:
        raise IdlError(f"program id {idl.address!r}: base58 of exactly 32 bytes is needed") from error
    _check_discriminators("instructions", "global", idl.instructions)
    _check_discriminators("accounts", "account", idl.accounts)
    _check_discriminators("events", "event", idl.events)
    _check_unique("types", [definition.name for definition in idl.types])
    _check_unique("errors", [error.name for error in idl.errors])
    _check_unique("errors", [str(error.code) for error in idl.errors])
    _check_types(idl)


def _check_discriminators(
    section: str, namespace: Literal["global", "account", "event"], items: Sequence[Named]
) -> None:
    _check_unique(section, [item.name for item in items])
    for item in items:
        expected = discriminator(namespace, item.name)
        if bytes(item.discriminator) != expected:
            raise IdlError(
                f"{section}.{item.name}: the discriminator must be the first 8 bytes of SHA-256 of "
                f"'{namespace}:{item.name}', {expected.hex()}, not {bytes(item.discriminator).hex()}"
            )


def _check_unique(section: str, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise IdlError(f"{section}.{name}: appears {count} times; names and numbers must be unique")


def _check_types(idl: Idl) -> None:
    for section, items in (("accounts", idl.accounts), ("events", idl.events)):
        for item in items:
            try:
                idl.fields_of(item.name)
            except IdlError as error:
                raise IdlError(f"{section}.{item.name}: {error.message}") from error
    for instruction in idl.instructions:
        _check_unique(
            f"instructions.{instruction.name}.accounts", [account.name for account in instruction.accounts]
        )
        for argument in instruction.args:
            try:
                idl.words(argument.type)
            except IdlError as error:
                raise IdlError(
                    f"instructions.{instruction.name}.args.{argument.name}: {error.message}"
                ) from error
