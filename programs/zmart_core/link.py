"""Links one relocatable eBPF object into the ELF that Solana's loader takes as an sBPF v0 program.

The C compiler's BPF backend stops at an object file. What the loader wants besides: one `.text`, constants that
know their final address, calls inside the program made relative, and syscalls named in a dynamic relocation
table. Everything sits at its file offset; the virtual machine maps offset 0 to `PROGRAM_REGION`.

ELF numbers are those of the ELF specification and of LLVM's `ELFRelocs/BPF.def`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

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

_EM_BPF = 247
_ET_REL, _ET_DYN = 1, 3
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_DYNAMIC, _SHT_NOBITS, _SHT_REL, _SHT_DYNSYM = 1, 2, 3, 6, 8, 9, 11
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_PT_LOAD, _PT_DYNAMIC = 1, 2
_PF_X, _PF_R = 1, 4
_DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_REL, _DT_RELSZ, _DT_RELENT, _DT_TEXTREL = (
    5, 6, 10, 11, 17, 18, 19, 22,
)  # fmt: skip
_R_BPF_64_64, _R_BPF_64_ABS64, _R_BPF_64_32 = 1, 2, 10

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_DYNAMIC = struct.Struct("<QQ")

_INSTRUCTION_BYTES = 8
_CALL, _CALL_REGISTER = 0x85, 0x8D
_CALL_RELATIVE = 0x10  # in the register byte: source 1 means "inside this program"


class LinkError(Exception):
    """The object cannot become a program. The message says which symbol or section, and why."""


@dataclass(frozen=True)
class _Section:
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
        return bool(self.flags & _SHF_ALLOC) and self.kind in (_SHT_PROGBITS, _SHT_NOBITS) and self.size > 0

    @property
    def is_code(self) -> bool:
        return bool(self.flags & _SHF_EXECINSTR)

    @property
    def is_constant(self) -> bool:
        relocated = self.name.startswith(".data.rel.ro")  # writable only for a linker at load time
        return self.kind == _SHT_PROGBITS and (relocated or not self.flags & _SHF_WRITE)


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    """0 when the object does not define it."""
    value: int


@dataclass(frozen=True)
class _Relocation:
    offset: int
    kind: int
    symbol: int


class _Object:
    """A relocatable eBPF object."""

    def __init__(self, raw: bytes) -> None:
        if raw[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", raw, 16) != (_ET_REL, _EM_BPF):
            raise LinkError("not a little-endian 64-bit relocatable eBPF object")
        fields = _HEADER.unpack_from(raw)
        self._raw = raw
        self._table, self._count, self._names = fields[6], fields[12], fields[13]

    @cached_property
    def sections(self) -> list[_Section]:
        headers = [
            _SECTION_HEADER.unpack_from(self._raw, self._table + index * _SECTION_HEADER.size)
            for index in range(self._count)
        ]
        names_at = headers[self._names][4]
        return [
            _Section(
                name=self._text(names_at + name),
                kind=kind,
                flags=flags,
                size=size,
                link=link,
                info=info,
                alignment=alignment,
                data=b"" if kind == _SHT_NOBITS else self._raw[offset : offset + size],
            )
            for name, kind, flags, _address, offset, size, link, info, alignment, _entry in headers
        ]

    @cached_property
    def symbols(self) -> list[_Symbol]:
        for section in self.sections:
            if section.kind == _SHT_SYMTAB:
                names = self.sections[section.link].data
                return [
                    _Symbol(_c_string(names, name), index, value)
                    for name, _info, _other, index, value, _size in _SYMBOL.iter_unpack(section.data)
                ]
        raise LinkError("the object has no symbol table")

    def relocations(self) -> Iterator[tuple[int, _Relocation]]:
        """Each relocation with the number of the section that it patches."""
        for section in self.sections:
            if section.kind == _SHT_REL:
                for offset, info in _RELOCATION.iter_unpack(section.data):
                    yield section.info, _Relocation(offset, info & 0xFFFFFFFF, info >> 32)

    def _text(self, offset: int) -> str:
        return _c_string(self._raw, offset)


class _Image:
    """The program's loaded bytes: headers' room, then code, then constants, each section in its place."""

    def __init__(self, source: _Object) -> None:
        self._source = source
        self.bytes = bytearray(_HEADER.size + 3 * _PROGRAM_HEADER.size)
        self.offsets: dict[int, int] = {}
        self.syscalls: list[tuple[int, str]] = []
        """(file offset of the call, syscall) in the order of the code."""
        code = [i for i, section in enumerate(source.sections) if section.is_loaded and section.is_code]
        rest = [i for i, section in enumerate(source.sections) if section.is_loaded and not section.is_code]
        for index in rest:
            section = source.sections[index]
            if not section.is_constant:
                raise LinkError(
                    f"section {section.name} ({section.size} bytes) is writable: "
                    "a program on chain has no global variables, make it const or keep it on the stack"
                )
        self.text = self._place(code)
        self.constants = self._place(rest)

    def relocate(self) -> None:
        for section, relocation in self._source.relocations():
            if section in self.offsets:  # others are debug information
                self._relocate(self.offsets[section] + relocation.offset, relocation)
        self._encode_register_calls()

    def address_in_file(self, symbol: _Symbol) -> int:
        if symbol.section not in self.offsets:
            raise LinkError(f"undefined symbol {symbol.name or '(unnamed)'}")
        return self.offsets[symbol.section] + symbol.value

    def _place(self, sections: list[int]) -> tuple[int, int]:
        start = len(self.bytes)
        for index in sections:
            section = self._source.sections[index]
            _pad(self.bytes, max(_INSTRUCTION_BYTES, section.alignment))
            self.offsets[index] = len(self.bytes)
            self.bytes += section.data
        _pad(self.bytes, _INSTRUCTION_BYTES)
        return start, len(self.bytes)

    def _relocate(self, at: int, relocation: _Relocation) -> None:
        symbol = self._source.symbols[relocation.symbol]
        match relocation.kind:
            case 10:  # R_BPF_64_32: a call
                self._link_call(at, symbol)
            case 1:  # R_BPF_64_64: an address loaded by a two-slot instruction
                low, high = (struct.unpack_from("<I", self.bytes, at + place)[0] for place in (4, 12))
                address = PROGRAM_REGION + self.address_in_file(symbol) + (high << 32 | low)
                struct.pack_into("<I", self.bytes, at + 4, address & 0xFFFFFFFF)
                struct.pack_into("<I", self.bytes, at + 12, address >> 32)
            case 2:  # R_BPF_64_ABS64: an address among the constants
                (addend,) = struct.unpack_from("<Q", self.bytes, at)
                struct.pack_into("<Q", self.bytes, at, PROGRAM_REGION + self.address_in_file(symbol) + addend)
            case other:
                raise LinkError(f"relocation of kind {other} against {symbol.name or '(unnamed)'}")

    def _link_call(self, at: int, symbol: _Symbol) -> None:
        if symbol.section:
            (slots,) = struct.unpack_from("<i", self.bytes, at + 4)
            target = self.address_in_file(symbol) + (slots + 1) * _INSTRUCTION_BYTES
            self._set_call(at, (target - at) // _INSTRUCTION_BYTES - 1)
            return
        if symbol.name not in SYSCALLS:
            raise LinkError(f"undefined function {symbol.name}: it is neither in the program nor a syscall")
        self._set_call(at, -1)
        self.syscalls.append((at, symbol.name))

    def _set_call(self, at: int, immediate: int) -> None:
        assert self.bytes[at] == _CALL
        struct.pack_into("<Bxxi", self.bytes, at + 1, _CALL_RELATIVE, immediate)

    def _encode_register_calls(self) -> None:
        """Newer LLVMs name the register of an indirect call as destination; sBPF v0 reads the immediate."""
        at, end = self.text
        while at < end:
            if self.bytes[at] == _CALL_REGISTER and self.bytes[at + 1]:
                struct.pack_into("<Bxxi", self.bytes, at + 1, 0, self.bytes[at + 1] & 15)
            at += _INSTRUCTION_BYTES * (2 if self.bytes[at] == 0x18 else 1)


def link(raw: bytes) -> bytes:
    """The program's ELF, the same for the same object. Raises LinkError."""
    source = _Object(raw)
    image = _Image(source)
    entry = next((symbol for symbol in source.symbols if symbol.name == ENTRY_SYMBOL and symbol.section), None)
    if entry is None:
        raise LinkError(f"the object does not define {ENTRY_SYMBOL}")
    image.relocate()
    return _elf(image, image.address_in_file(entry))


def _elf(image: _Image, entry: int) -> bytes:
    out = image.bytes
    names = sorted({name for _, name in image.syscalls})
    strings, name_offsets = _string_table(names)
    symbols = bytes(_SYMBOL.size) + b"".join(
        _SYMBOL.pack(name_offsets[name], 0x10, 0, 0, 0, 0) for name in names
    )
    relocations = b"".join(
        _RELOCATION.pack(at, (1 + names.index(name)) << 32 | _R_BPF_64_32) for at, name in image.syscalls
    )
    dynamic_at = len(out)
    symbols_at = dynamic_at + 9 * _DYNAMIC.size
    strings_at = symbols_at + len(symbols)
    relocations_at = strings_at + len(strings)
    dynamic = b"".join(
        _DYNAMIC.pack(*entry)
        for entry in (
            (_DT_SYMTAB, symbols_at),
            (_DT_SYMENT, _SYMBOL.size),
            (_DT_STRTAB, strings_at),
            (_DT_STRSZ, len(strings)),
            (_DT_TEXTREL, 0),
            (_DT_REL, relocations_at),
            (_DT_RELSZ, len(relocations)),
            (_DT_RELENT, _RELOCATION.size),
            (0, 0),
        )
    )
    out += dynamic + symbols + strings + relocations
    loaded = len(out)

    (text, text_end), (constants, constants_end) = image.text, image.constants
    sections = [
        # name, kind, flags, offset, size, link, info, entry size
        (".text", _SHT_PROGBITS, _SHF_ALLOC | _SHF_EXECINSTR, text, text_end - text, 0, 0, 0),
        (".rodata", _SHT_PROGBITS, _SHF_ALLOC, constants, constants_end - constants, 0, 0, 0),
        (".dynamic", _SHT_DYNAMIC, _SHF_WRITE | _SHF_ALLOC, dynamic_at, len(dynamic), 5, 0, _DYNAMIC.size),
        (".dynsym", _SHT_DYNSYM, _SHF_ALLOC, symbols_at, len(symbols), 5, 1, _SYMBOL.size),
        (".dynstr", _SHT_STRTAB, _SHF_ALLOC, strings_at, len(strings), 0, 0, 0),
        (".rel.dyn", _SHT_REL, _SHF_ALLOC, relocations_at, len(relocations), 4, 0, _RELOCATION.size),
    ]
    section_names, section_name_offsets = _string_table([name for name, *_ in sections] + [".shstrtab"])
    sections.append((".shstrtab", _SHT_STRTAB, 0, len(out), len(section_names), 0, 0, 0))
    out += section_names
    sections_at = len(out)
    out += bytes(_SECTION_HEADER.size)
    for name, kind, flags, offset, size, link_to, info, entry_size in sections:
        address = offset if flags & _SHF_ALLOC else 0
        out += _SECTION_HEADER.pack(
            section_name_offsets[name], kind, flags, address, offset, size, link_to, info, 8, entry_size
        )

    def segment(kind: int, flags: int, start: int, end: int) -> bytes:
        return _PROGRAM_HEADER.pack(kind, flags, start, start, start, end - start, end - start, 8)

    segments = (
        segment(_PT_LOAD, _PF_R | _PF_X, text, text_end)
        + segment(_PT_LOAD, _PF_R, text_end, loaded)
        + segment(_PT_DYNAMIC, _PF_R, dynamic_at, symbols_at)
    )
    header = _HEADER.pack(
        b"\x7fELF\x02\x01\x01",
        _ET_DYN,
        _EM_BPF,
        1,
        entry,
        _HEADER.size,
        sections_at,
        0,
        _HEADER.size,
        _PROGRAM_HEADER.size,
        3,
        _SECTION_HEADER.size,
        len(sections) + 1,
        len(sections),
    )
    out[: len(header) + len(segments)] = header + segments
    return bytes(out)


def _string_table(names: list[str]) -> tuple[bytes, dict[str, int]]:
    """NUL-terminated names after an empty one, padded to 8 bytes; and where each of them starts."""
    table, offsets = bytearray(1), {}
    for name in names:
        offsets[name] = len(table)
        table += name.encode() + b"\0"
    _pad(table, 8)
    return bytes(table), offsets


def _pad(data: bytearray, alignment: int) -> None:
    data += bytes(-len(data) % alignment)


def _c_string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
