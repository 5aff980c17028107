"""Links one relocatable eBPF object into the ELF that Solana's loader takes as an sBPF v0 program.

The compiler's BPF backend stops at an object file. What the loader wants besides: one `.text`, constants that
know their final address, calls inside the program made relative, and syscalls named in a dynamic relocation
table. Everything sits at its file offset; the virtual machine maps offset 0 to `PROGRAM_REGION`.
"""

from __future__ import annotations

import struct

import elf
from elf import (
    DynamicTag,
    Object,
    Relocation,
    RelocationKind,
    SectionFlag,
    SectionKind,
    SegmentFlag,
    SegmentKind,
    Symbol,
)

PROGRAM_REGION = 0x1_0000_0000
ENTRY_SYMBOL = "entrypoint"

SYSCALLS = frozenset(
    """
    abort sol_panic_ sol_log_ sol_log_64_ sol_log_compute_units_ sol_log_data sol_log_pubkey
    sol_create_program_address sol_try_find_program_address sol_invoke_signed_c
    sol_get_clock_sysvar sol_get_rent_sysvar sol_get_sysvar sol_get_stack_height
    sol_memcpy_ sol_memmove_ sol_memcmp_ sol_memset_ sol_set_return_data sol_get_return_data
    """.split()
)
"""What the runtime offers on every cluster. A name that it does not know would fail only when called."""

_INSTRUCTION_BYTES = 8
_SEGMENTS = 3
_LOAD_ADDRESS, _CALL, _CALL_REGISTER = 0x18, 0x85, 0x8D
_CALL_RELATIVE = 0x10  # in the register byte: source 1 means "inside this program"
_UNRESOLVED = -1


class LinkError(Exception):
    """The object cannot become a program. The message says which symbol or section, and why."""


def link(raw: bytes) -> bytes:
    """The program's ELF, the same for the same object. Raises LinkError."""
    try:
        source = Object(raw)
        image = _Image(source)
        image.relocate()
        return _program(image, image.place_of(_entry(source)))
    except elf.MalformedObject as error:
        raise LinkError(str(error)) from error
    except (struct.error, IndexError, ValueError) as error:
        raise LinkError("the object is damaged: it ends early, or points outside itself") from error


def _entry(source: Object) -> Symbol:
    for symbol in source.symbols:
        if symbol.name == ENTRY_SYMBOL and symbol.section:
            return symbol
    raise LinkError(f"the object does not define {ENTRY_SYMBOL}")


class _Image:
    """The program as loaded: room for headers, then code, then constants, each section in its place."""

    def __init__(self, source: Object) -> None:
        self._source = source
        self._places: dict[int, int] = {}
        self.bytes = bytearray(elf.HEADER.size + _SEGMENTS * elf.PROGRAM_HEADER.size)
        self.syscalls: list[tuple[int, str]] = []
        """(place of the call, syscall) in the order of the code."""
        loaded = [(number, section) for number, section in enumerate(source.sections) if section.is_loaded]
        for _, section in loaded:
            if not section.is_code and not section.is_constant:
                raise LinkError(
                    f"section {section.name} ({section.size} bytes) is writable: a program on chain has no "
                    "global variables, make it const or keep it on the stack"
                )
        self.code = self._lay_out([number for number, section in loaded if section.is_code])
        self.constants = self._lay_out([number for number, section in loaded if not section.is_code])

    def relocate(self) -> None:
        for relocation in self._source.relocations():
            if relocation.section in self._places:  # the others patch debug information
                self._relocate(relocation)
        self._encode_register_calls()

    def place_of(self, symbol: Symbol) -> int:
        """Where in the file. Raises LinkError when it is not in the program."""
        if symbol.section not in self._places:
            raise LinkError(f"undefined symbol {symbol.name or '(without a name)'}")
        return self._places[symbol.section] + symbol.value

    def _lay_out(self, numbers: list[int]) -> tuple[int, int]:
        start = len(self.bytes)
        for number in numbers:
            section = self._source.sections[number]
            _pad(self.bytes, max(_INSTRUCTION_BYTES, section.alignment))
            self._places[number] = len(self.bytes)
            self.bytes += section.data
        _pad(self.bytes, _INSTRUCTION_BYTES)
        return start, len(self.bytes)

    def _relocate(self, relocation: Relocation) -> None:
        at = self._places[relocation.section] + relocation.offset
        symbol = self._source.symbols[relocation.symbol]
        match relocation.kind:
            case RelocationKind.CALL if symbol.section:
                self._link_call(at, symbol)
            case RelocationKind.CALL:
                self._link_syscall(at, symbol.name)
            case RelocationKind.LOADED_ADDRESS:  # the address is in the immediates of two slots
                low, high = (struct.unpack_from("<I", self.bytes, at + slot)[0] for slot in (4, 12))
                address = PROGRAM_REGION + self.place_of(symbol) + (high << 32 | low)
                struct.pack_into("<I", self.bytes, at + 4, address & 0xFFFFFFFF)
                struct.pack_into("<I", self.bytes, at + 12, address >> 32)
            case RelocationKind.STORED_ADDRESS:
                (addend,) = struct.unpack_from("<Q", self.bytes, at)
                struct.pack_into("<Q", self.bytes, at, PROGRAM_REGION + self.place_of(symbol) + addend)
            case other:
                raise LinkError(f"relocation of unknown kind {other} against {symbol.name}")

    def _link_call(self, at: int, symbol: Symbol) -> None:
        (addend,) = struct.unpack_from("<i", self.bytes, at + 4)  # counted from the next instruction
        target = self.place_of(symbol) + (addend + 1) * _INSTRUCTION_BYTES
        self._set_call(at, (target - at) // _INSTRUCTION_BYTES - 1)

    def _link_syscall(self, at: int, name: str) -> None:
        if name not in SYSCALLS:
            raise LinkError(f"undefined function {name}: it is neither in the program nor a syscall")
        self._set_call(at, _UNRESOLVED)
        self.syscalls.append((at, name))

    def _set_call(self, at: int, immediate: int) -> None:
        assert self.bytes[at] == _CALL
        struct.pack_into("<Bxxi", self.bytes, at + 1, _CALL_RELATIVE, immediate)

    def _encode_register_calls(self) -> None:
        """Newer LLVMs name an indirect call's register as destination; sBPF v0 reads it in the immediate."""
        at, end = self.code
        while at < end:
            operation, register = self.bytes[at], self.bytes[at + 1] & 15
            if operation == _CALL_REGISTER and register:
                struct.pack_into("<Bxxi", self.bytes, at + 1, 0, register)
            at += _INSTRUCTION_BYTES * (2 if operation == _LOAD_ADDRESS else 1)


def _program(image: _Image, entry: int) -> bytes:
    out = image.bytes
    names = sorted({name for _, name in image.syscalls})
    strings, string_at = _string_table(names)
    symbols = bytes(elf.SYMBOL.size) + b"".join(
        elf.SYMBOL.pack(string_at[name], 0x10, 0, 0, 0, 0) for name in names
    )
    relocations = b"".join(
        elf.RELOCATION.pack(at, (1 + names.index(name)) << 32 | RelocationKind.CALL)
        for at, name in image.syscalls
    )
    dynamic_at = len(out)
    symbols_at = dynamic_at + len(DynamicTag) * elf.DYNAMIC.size
    strings_at = symbols_at + len(symbols)
    relocations_at = strings_at + len(strings)
    dynamic = b"".join(
        elf.DYNAMIC.pack(tag, value)
        for tag, value in (
            (DynamicTag.SYMBOLS, symbols_at),
            (DynamicTag.SYMBOL_SIZE, elf.SYMBOL.size),
            (DynamicTag.STRINGS, strings_at),
            (DynamicTag.STRINGS_SIZE, len(strings)),
            (DynamicTag.TEXT_IS_RELOCATED, 0),
            (
                DynamicTag.RELOCATIONS,
                relocations_at if relocations else 0,
            ),  # it refuses an empty one
            (DynamicTag.RELOCATIONS_SIZE, len(relocations)),
            (DynamicTag.RELOCATION_SIZE, elf.RELOCATION.size),
            (DynamicTag.END, 0),
        )
    )
    out += dynamic + symbols + strings + relocations
    end = len(out)
    code, constants = image.code, image.constants
    loaded = SectionFlag.LOADED
    sections = [
        # name, kind, flags, from, to, linked section (numbered from 1), info, entry size
        (".text", SectionKind.PROGRAM, loaded | SectionFlag.CODE, *code, 0, 0, 0),
        (".rodata", SectionKind.PROGRAM, loaded, *constants, 0, 0, 0),
        (".dynamic", SectionKind.DYNAMIC, loaded, dynamic_at, symbols_at, 5, 0, elf.DYNAMIC.size),
        (".dynsym", SectionKind.DYNAMIC_SYMBOLS, loaded, symbols_at, strings_at, 5, 1, elf.SYMBOL.size),
        (".dynstr", SectionKind.STRINGS, loaded, strings_at, relocations_at, 0, 0, 0),
        (".rel.dyn", SectionKind.RELOCATIONS, loaded, relocations_at, end, 4, 0, elf.RELOCATION.size),
    ]
    section_names, section_name_at = _string_table([*(name for name, *_ in sections), ".shstrtab"])
    sections.append(
        (".shstrtab", SectionKind.STRINGS, SectionFlag(0), end, end + len(section_names), 0, 0, 0)
    )
    out += section_names
    sections_at = len(out)
    out += bytes(elf.SECTION_HEADER.size)
    for name, kind, flags, start, stop, linked, info, entry_size in sections:
        address = start if flags & SectionFlag.LOADED else 0
        out += elf.SECTION_HEADER.pack(
            section_name_at[name], kind, flags, address, start, stop - start, linked, info, 8, entry_size
        )
    headers = (
        elf.HEADER.pack(
            elf.IDENTIFICATION,
            elf.FileType.SHARED,
            elf.MACHINE_BPF,
            1,
            entry,
            elf.HEADER.size,
            sections_at,
            0,
            elf.HEADER.size,
            elf.PROGRAM_HEADER.size,
            _SEGMENTS,
            elf.SECTION_HEADER.size,
            len(sections) + 1,
            len(sections),
        )
        + _segment(SegmentKind.LOAD, SegmentFlag.READABLE | SegmentFlag.EXECUTABLE, *code)
        + _segment(SegmentKind.LOAD, SegmentFlag.READABLE, constants[0], end)
        + _segment(SegmentKind.DYNAMIC, SegmentFlag.READABLE, dynamic_at, symbols_at)
    )
    out[: len(headers)] = headers
    return bytes(out)


def _segment(kind: SegmentKind, flags: int, start: int, end: int) -> bytes:
    size = end - start
    return elf.PROGRAM_HEADER.pack(kind, flags, start, start, start, size, size, 8)


def _string_table(names: list[str]) -> tuple[bytes, dict[str, int]]:
    """NUL-terminated names after an empty one, padded to 8 bytes; and where each of them starts."""
    table, starts = bytearray(1), {}
    for name in names:
        starts[name] = len(table)
        table += name.encode() + b"\0"
    _pad(table, 8)
    return bytes(table), starts


def _pad(data: bytearray, alignment: int) -> None:
    data += bytes(-len(data) % alignment)
