"""Borsh layouts declared by the fields of a struct, compiled once into `struct.Struct` runs.

A field's annotation is its wire type: `bool`, `Pubkey`, an enum (one byte, variants in order), one of the
integers and byte arrays below, or any of these `| None` (an option: one tag byte, then the value if there is
one). `Layout.types` spells the same in words, so that an IDL can be compared with it field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.errors import ZmartdError

U8 = Annotated[int, "u8"]
U16 = Annotated[int, "u16"]
U32 = Annotated[int, "u32"]
U64 = Annotated[int, "u64"]
I64 = Annotated[int, "i64"]
Bytes32 = Annotated[bytes, "[u8; 32]"]
Bytes46 = Annotated[bytes, "[u8; 46]"]
Bytes64 = Annotated[bytes, "[u8; 64]"]
Bytes119 = Annotated[bytes, "[u8; 119]"]

_FORMATS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q"}

T = TypeVar("T", bound=Struct)
Convert = Callable[[Any], Any]


class UndecodableData(ZmartdError):
    """These bytes are not what they are said to be."""

    code = "undecodable_data"


class _Scalar(Struct, frozen=True):
    """A wire type of fixed size: its name, its `struct` format, and what turns raw values into typed ones."""

    name: str
    format: str
    read: Convert | None = None
    write: Convert | None = None

    def pack(self, value: Any) -> bytes:
        raw = self.write(value) if self.write else value
        if isinstance(raw, bytes) and len(raw) != struct.calcsize(self.format):
            raise ValueError(f"needs {struct.calcsize(self.format)} bytes, not {len(raw)}")
        return struct.pack("<" + self.format, raw)


class _Run(Struct, frozen=True):
    """Consecutive fields of fixed size, read in one call."""

    packer: struct.Struct
    readers: tuple[tuple[int, Convert], ...]


class _Option(Struct, frozen=True):
    """One optional field."""

    field: str
    packer: struct.Struct
    read: Convert | None


class _Field(Struct, frozen=True):
    name: str
    scalar: _Scalar
    optional: bool

    @property
    def type(self) -> str:
        return f"option<{self.scalar.name}>" if self.optional else self.scalar.name


class Layout(Generic[T]):
    """How the fields of one struct lie in bytes. Values are little endian, without padding."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self._fields = tuple(_field(field.name, field.type) for field in msgspec.structs.fields(kind))
        self._parts = _compile(self._fields)

    @property
    def types(self) -> dict[str, str]:
        """Field names, as an IDL writes them, and their wire types in words, in order."""
        return {field.name.rstrip("_"): field.type for field in self._fields}

    def unpack(self, data: bytes, start: int = 0) -> tuple[T, int]:
        """The struct that begins at `start` and the offset behind it.

        Raises UndecodableData where the data is too short or a bool, option or enum byte has no meaning.
        """
        offset = start
        values: list[Any] = []
        try:
            for part in self._parts:
                if isinstance(part, _Run):
                    run: list[Any] = list(part.packer.unpack_from(data, offset))
                    offset += part.packer.size
                    for index, read in part.readers:
                        run[index] = read(run[index])
                    values += run
                    continue
                tag = data[offset]
                offset += 1
                if tag == 0:
                    values.append(None)
                elif tag == 1:
                    (value,) = part.packer.unpack_from(data, offset)
                    offset += part.packer.size
                    values.append(value if part.read is None else part.read(value))
                else:
                    raise UndecodableData(f"{part.field}: an option's tag must be 0 or 1, not {tag}")
        except (struct.error, IndexError) as error:
            raise UndecodableData(f"{self.kind.__name__}: {len(data)} bytes are too few") from error
        return self.kind(*values), offset

    def pack(self, value: T) -> bytes:
        """The inverse of `unpack`. Raises ValueError where a value does not fit its field."""
        return b"".join(self._pack_field(field, getattr(value, field.name)) for field in self._fields)

    def _pack_field(self, field: _Field, value: Any) -> bytes:
        if field.optional and value is None:
            return b"\0"
        try:
            packed = field.scalar.pack(value)
        except (struct.error, ValueError, TypeError) as error:
            raise ValueError(f"{self.kind.__name__}.{field.name} ({field.type}): {error}") from error
        return b"\1" + packed if field.optional else packed


_layouts: dict[type[Any], Layout[Any]] = {}


def layout_of(kind: type[T]) -> Layout[T]:
    """The layout of a struct, compiled at the first call."""
    if kind not in _layouts:
        _layouts[kind] = Layout(kind)
    return _layouts[kind]


def _field(name: str, annotation: Any) -> _Field:
    optional = get_origin(annotation) is UnionType or NoneType in get_args(annotation)
    if optional:
        annotation = next(argument for argument in get_args(annotation) if argument is not NoneType)
    return _Field(name, _scalar(name, annotation), optional)


def _scalar(field: str, annotation: Any) -> _Scalar:
    if annotation is Pubkey:
        return _Scalar("pubkey", "32s", Pubkey.from_bytes, bytes)
    if annotation is bool:
        return _Scalar("bool", "B", partial(_read_bool, field), _write_bool)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        variants = tuple(annotation)
        name = f"enum<{', '.join(_variant_name(variant.name) for variant in variants)}>"
        return _Scalar(name, "B", partial(_read_variant, field, variants), variants.index)
    name = get_args(annotation)[1]
    if name in _FORMATS:
        return _Scalar(name, _FORMATS[name])
    length = name.removeprefix("[u8; ").removesuffix("]")
    return _Scalar(name, f"{length}s", None, bytes)


def _compile(fields: tuple[_Field, ...]) -> tuple[_Run | _Option, ...]:
    parts: list[_Run | _Option] = []
    pending: list[_Scalar] = []

    def close_run() -> None:
        if pending:
            packer = struct.Struct("<" + "".join(scalar.format for scalar in pending))
            readers = tuple((i, scalar.read) for i, scalar in enumerate(pending) if scalar.read is not None)
            parts.append(_Run(packer, readers))
            pending.clear()

    for field in fields:
        if field.optional:
            close_run()
            parts.append(_Option(field.name, struct.Struct("<" + field.scalar.format), field.scalar.read))
        else:
            pending.append(field.scalar)
    close_run()
    return tuple(parts)


def _variant_name(member: str) -> str:
    return "".join(word.capitalize() for word in member.split("_"))


def _read_bool(field: str, raw: int) -> bool:
    if raw > 1:
        raise UndecodableData(f"{field}: a bool must be 0 or 1, not {raw}")
    return raw == 1


def _write_bool(value: object) -> int:
    if not isinstance(value, bool):
        raise TypeError(f"needs True or False, not {value!r}")
    return int(value)


def _read_variant(field: str, variants: tuple[Enum, ...], raw: int) -> Enum:
    if raw >= len(variants):
        raise UndecodableData(f"{field}: there is no variant {raw} of {type(variants[0]).__name__}")
    return variants[raw]
