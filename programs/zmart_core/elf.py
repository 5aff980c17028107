"""Enough of ELF to read an eBPF object and write a program; numbers are those of the specification."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cached_property

MACHINE_BPF = 247
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQ")
DYNAMIC = struct.Struct("<QQ")
IDENTIFICATION = b"\x7fELF\x02\x01\x01"
"""64 bits, little-endian, version 1."""

_AT_FILE_TYPE = 16


class FileType(IntEnum):
    RELOCATABLE = 1
    SHARED = 3


class SectionKind(IntEnum):
    PROGRAM = 1
    SYMBOLS = 2
    STRINGS = 3
    DYNAMIC = 6
    NO_BITS = 8
    RELOCATIONS = 9
    DYNAMIC_SYMBOLS = 11


class SectionFlag(IntFlag):
    WRITABLE = 1
    LOADED = 2
    CODE = 4


class SegmentKind(IntEnum):
    LOAD = 1
    DYNAMIC = 2


class SegmentFlag(IntFlag):
    EXECUTABLE = 1
    READABLE = 4


class DynamicTag(IntEnum):
    END = 0
    STRINGS = 5
    SYMBOLS = 6
    STRINGS_SIZE = 10
    SYMBOL_SIZE = 11
    RELOCATIONS = 17
    RELOCATIONS_SIZE = 18
    RELOCATION_SIZE = 19
    TEXT_IS_RELOCATED = 22


class RelocationKind(IntEnum):
    """LLVM's names: R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_32."""

    LOADED_ADDRESS = 1
    STORED_ADDRESS = 2
    CALL = 10


class MalformedObject(Exception):
    """This is not an object that the compiler's BPF backend makes."""


@dataclass(frozen=True)
class Section:
    name: str
    kind: int
    flags: int
    size: int
    link: int
    info: int
    alignment: int
    data: bytes

    @property
    def is_loaded(self) -> bool:
        in_memory = self.kind in (SectionKind.PROGRAM, SectionKind.NO_BITS)
        return in_memory and bool(self.flags & SectionFlag.LOADED) and self.size > 0

    @property
    def is_code(self) -> bool:
        return bool(self.flags & SectionFlag.CODE)

    @property
    def is_constant(self) -> bool:
        relocated = self.name.startswith(".data.rel.ro")  # writable, but only for a linker at load time
        return self.kind == SectionKind.PROGRAM and (relocated or not self.flags & SectionFlag.WRITABLE)


@dataclass(frozen=True)
class Symbol:
    name: str
    section: int
    """0 when the object does not define it."""
    value: int


@dataclass(frozen=True)
class Relocation:
    section: int
    """The number of the section that it patches."""
    offset: int
    kind: int
    symbol: int


class Object:
    """A relocatable eBPF object. Raises MalformedObject."""

    def __init__(self, raw: bytes) -> None:
        expected = (FileType.RELOCATABLE, MACHINE_BPF)
        if raw[:7] != IDENTIFICATION or struct.unpack_from("<HH", raw, _AT_FILE_TYPE) != expected:
            raise MalformedObject("not a little-endian 64-bit relocatable eBPF object")
        fields = HEADER.unpack_from(raw)
        self._raw = raw
        self._table, self._count, self._names = fields[6], fields[12], fields[13]

    @cached_property
    def sections(self) -> list[Section]:
        headers = [
            SECTION_HEADER.unpack_from(self._raw, self._table + index * SECTION_HEADER.size)
            for index in range(self._count)
        ]
        names_at = headers[self._names][4]
        return [
            Section(
                name=_c_string(self._raw, names_at + name),
                kind=kind,
                flags=flags,
                size=size,
                link=link,
                info=info,
                alignment=alignment,
                data=b"" if kind == SectionKind.NO_BITS else self._raw[offset : offset + size],
            )
            for name, kind, flags, _address, offset, size, link, info, alignment, _entry in headers
        ]

    @cached_property
    def symbols(self) -> list[Symbol]:
        for section in self.sections:
            if section.kind == SectionKind.SYMBOLS:
                names = self.sections[section.link].data
                return [
                    Symbol(_c_string(names, name), index, value)
                    for name, _info, _other, index, value, _size in SYMBOL.iter_unpack(section.data)
                ]
        raise MalformedObject("the object has no symbol table")

    def relocations(self) -> Iterator[Relocation]:
        for section in self.sections:
            if section.kind == SectionKind.RELOCATIONS:
                for offset, info in RELOCATION.iter_unpack(section.data):
                    yield Relocation(section.info, offset, info & 0xFFFFFFFF, info >> 32)


def _c_string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
