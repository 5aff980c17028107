"""Links one relocatable eBPF object into the ELF that every Solana cluster loads (sBPF version 0).

What a loader of that version wants: `.text` and `.rodata` at addresses equal to their file offsets, an entry
point inside `.text`, and a dynamic section whose relocations name the system calls. Calls inside the program
are patched here; system calls stay as `call -1` with a relocation that the loader resolves by name.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM_REGION = 1 << 32
"""Where the runtime maps the program: what the code sees as the address of file offset 0."""

SYSTEM_CALLS = frozenset(
    """abort sol_panic_ sol_log_ sol_log_64_ sol_log_pubkey sol_log_compute_units_ sol_log_data
    sol_create_program_address sol_try_find_program_address sol_sha256 sol_keccak256 sol_blake3
    sol_secp256k1_recover sol_get_clock_sysvar sol_get_rent_sysvar sol_get_epoch_schedule_sysvar
    sol_get_last_restart_slot sol_get_sysvar sol_memcpy_ sol_memmove_ sol_memset_ sol_memcmp_
    sol_invoke_signed_c sol_set_return_data sol_get_return_data sol_get_stack_height
    sol_get_processed_sibling_instruction sol_remaining_compute_units""".split()
)
"""An unknown name would only fail when it is called, so the linker refuses it."""

_EM_BPF, _ET_REL, _ET_DYN = 247, 1, 3
_PROGBITS, _SYMTAB, _STRTAB, _DYNAMIC, _REL, _NOBITS, _DYNSYM = 1, 2, 3, 6, 9, 8, 11
_WRITE, _ALLOC, _EXEC = 1, 2, 4
_R_64, _R_ABS64, _R_CALL = 1, 2, 10
_CALL_LOCAL, _CALLX = 0x10, 0x8D
_PT_LOAD, _PT_DYNAMIC, _EXECUTABLE, _READABLE = 1, 2, 1, 4

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")


class LinkError(Exception):
    """The object cannot become a program; the message says which part of it."""


@dataclass
class Section:
    index: int
    name: str
    kind: int
    flags: int
    link: int
    info: int
    align: int
    data: bytes
    address: int = 0


@dataclass
class Symbol:
    name: str
    section: int
    value: int


@dataclass
class Relocation:
    offset: int
    kind: int
    symbol: Symbol


@dataclass
class Object:
    """A relocatable object, taken apart."""

    sections: list[Section]
    symbols: list[Symbol]
    relocations: dict[int, list[Relocation]] = field(default_factory=dict)
    """By the index of the section that they change."""


def read_object(raw: bytes) -> Object:
    if raw[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", raw, 16) != (_ET_REL, _EM_BPF):
        raise LinkError("this is not a relocatable little-endian eBPF object")
    (table,) = struct.unpack_from("<Q", raw, 40)
    count, names_index = struct.unpack_from("<HH", raw, 60)
    headers = [_SECTION.unpack_from(raw, table + 64 * index) for index in range(count)]
    sections = [
        Section(
            index=index,
            name=_string(raw, headers[names_index][4] + name),
            kind=kind,
            flags=flags,
            link=link,
            info=info,
            align=align,
            data=b"" if kind == _NOBITS else raw[offset : offset + size],
        )
        for index, (name, kind, flags, _, offset, size, link, info, align, _) in enumerate(headers)
    ]
    symbols = [
        Symbol(_string(sections[table.link].data, name), section, value)
        for table in sections
        if table.kind == _SYMTAB
        for name, _, _, section, value, _ in _SYMBOL.iter_unpack(table.data)
    ]
    relocations = {
        section.info: [
            Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32])
            for offset, info in _RELOCATION.iter_unpack(section.data)
        ]
        for section in sections
        if section.kind == _REL
    }
    for header, section in zip(headers, sections, strict=True):
        if not section.flags & _ALLOC or header[5] == 0 or section.name.startswith(".data.rel.ro"):
            continue
        if section.flags & _WRITE or section.kind == _NOBITS:
            raise LinkError(f"section {section.name} is writable: a program has no global variables")
    return Object(sections, symbols, relocations)


def link(raw: bytes, entry: str = "entrypoint") -> bytes:
    """The program's ELF. Raises LinkError."""
    parts = read_object(raw)
    loaded = [section for section in parts.sections if section.flags & _ALLOC and section.data]
    code = [section for section in loaded if section.flags & _EXEC]
    constants = [section for section in loaded if not section.flags & _EXEC]
    image = bytearray(64 + 3 * _SEGMENT.size)
    code_span = _place(image, code)
    constants_span = _place(image, constants)
    placed = {section.index: section for section in loaded}
    calls = [
        call
        for section in loaded
        for relocation in parts.relocations.get(section.index, [])
        if (call := _relocate(image, placed, section, relocation)) is not None
    ]
    _mend_register_calls(image, code_span)
    start = next((symbol for symbol in parts.symbols if symbol.name == entry and symbol.section), None)
    if start is None:
        raise LinkError(f"there is no function {entry}")
    return _write(image, code_span, constants_span, calls, placed[start.section].address + start.value)


def _place(image: bytearray, sections: list[Section]) -> tuple[int, int]:
    """Append sections to the image; their common span."""
    start = len(image)
    for section in sections:
        image += bytes(-len(image) % max(8, section.align))
        section.address = len(image)
        image += section.data
    image += bytes(-len(image) % 8)
    return start, len(image)


def _relocate(
    image: bytearray, placed: dict[int, Section], section: Section, relocation: Relocation
) -> tuple[int, str] | None:
    """Patch one place; a call of the system is returned as (offset, name) instead."""
    at, symbol = section.address + relocation.offset, relocation.symbol
    if relocation.kind == _R_CALL and not symbol.section:
        if symbol.name not in SYSTEM_CALLS:
            raise LinkError(f"function {symbol.name} is neither defined nor a system call")
        struct.pack_into("<Bxxi", image, at + 1, _CALL_LOCAL, -1)
        return at, symbol.name
    if symbol.section not in placed:
        raise LinkError(f"{symbol.name or 'a symbol'} is used but not part of the program")
    target = placed[symbol.section].address + symbol.value
    if relocation.kind == _R_CALL:
        (addend,) = struct.unpack_from("<i", image, at + 4)
        target += (addend + 1) * 8
        struct.pack_into("<Bxxi", image, at + 1, _CALL_LOCAL, (target - at) // 8 - 1)
    elif relocation.kind == _R_64:
        low, high = struct.unpack_from("<I4xI", image, at + 4)
        value = PROGRAM_REGION + target + (high << 32 | low)
        struct.pack_into("<I", image, at + 4, value & 0xFFFFFFFF)
        struct.pack_into("<I", image, at + 12, value >> 32)
    elif relocation.kind == _R_ABS64:
        (addend,) = struct.unpack_from("<Q", image, at)
        struct.pack_into("<Q", image, at, PROGRAM_REGION + target + addend)
    else:
        raise LinkError(f"relocation type {relocation.kind} of {symbol.name} is not supported")
    return None


def _mend_register_calls(image: bytearray, span: tuple[int, int]) -> None:
    """Newer compilers name the register of `callx` in another field than this version reads."""
    for at in range(*span, 8):
        if image[at] == _CALLX and image[at + 1] & 15:
            struct.pack_into("<Bxxi", image, at + 1, 0, image[at + 1] & 15)


def _write(
    image: bytearray,
    code: tuple[int, int],
    constants: tuple[int, int],
    calls: list[tuple[int, str]],
    entry: int,
) -> bytes:
    """Append what the loader reads about the program: dynamic section, symbols, section names and headers."""
    names = sorted({name for _, name in calls})
    strings, offsets = b"\0", {}
    for name in names:
        offsets[name] = len(strings)
        strings += name.encode() + b"\0"
    strings += bytes(-len(strings) % 8)
    symbols = bytes(_SYMBOL.size) + b"".join(_SYMBOL.pack(offsets[name], 0x10, 0, 0, 0, 0) for name in names)
    relocations = b"".join(_RELOCATION.pack(at, names.index(name) + 1 << 32 | _R_CALL) for at, name in calls)
    dynamic_at = len(image)
    symbols_at = dynamic_at + 16 * 10
    strings_at = symbols_at + len(symbols)
    relocations_at = strings_at + len(strings)
    dynamic = {
        0x6: symbols_at,  # DT_SYMTAB
        0xB: _SYMBOL.size,  # DT_SYMENT
        0x5: strings_at,  # DT_STRTAB
        0xA: len(strings),  # DT_STRSZ
        0x16: 0,  # DT_TEXTREL: the relocations change code
        0x11: relocations_at,  # DT_REL
        0x12: len(relocations),  # DT_RELSZ
        0x13: _RELOCATION.size,  # DT_RELENT
        0x6FFFFFFA: 0,  # DT_RELCOUNT: none is relative
        0x0: 0,
    }
    image += b"".join(struct.pack("<QQ", *tag) for tag in dynamic.items()) + symbols + strings + relocations
    end = len(image)
    sections = [
        # name, type, flags, start, size, link, info, entry size
        ("", 0, 0, 0, 0, 0, 0, 0),
        (".text", _PROGBITS, _ALLOC | _EXEC, code[0], code[1] - code[0], 0, 0, 0),
        (".rodata", _PROGBITS, _ALLOC, constants[0], constants[1] - constants[0], 0, 0, 0),
        (".dynamic", _DYNAMIC, _ALLOC | _WRITE, dynamic_at, 16 * len(dynamic), 5, 0, 16),
        (".dynsym", _DYNSYM, _ALLOC, symbols_at, len(symbols), 5, 1, _SYMBOL.size),
        (".dynstr", _STRTAB, _ALLOC, strings_at, len(strings), 0, 0, 0),
        (".rel.dyn", _REL, _ALLOC, relocations_at, len(relocations), 4, 0, _RELOCATION.size),
    ]
    section_names = b"".join(name.encode() + b"\0" for name, *_ in [*sections, (".shstrtab",)])
    sections.append((".shstrtab", _STRTAB, 0, end, len(section_names), 0, 0, 0))
    image += section_names
    image += bytes(-len(image) % 8)
    headers_at = len(image)
    name_at = 0
    for name, kind, flags, start, size, link_to, info, entry_size in sections:
        address = start if flags & _ALLOC else 0
        align = 8 if flags & _ALLOC else 1
        image += _SECTION.pack(
            name_at, kind, flags, address, start, size, link_to, info, align if kind else 0, entry_size
        )
        name_at += len(name) + 1
    header = struct.pack(
        "<HHIQQQIHHHHHH",
        *(
            _ET_DYN,
            _EM_BPF,
            1,
            entry,
            64,
            headers_at,
            0,
            64,
            _SEGMENT.size,
            3,
            64,
            len(sections),
            len(sections) - 1,
        ),
    )
    image[:64] = b"\x7fELF\x02\x01\x01" + bytes(9) + header
    image[64 : 64 + 3 * _SEGMENT.size] = b"".join(
        _SEGMENT.pack(kind, flags, start, start, start, stop - start, stop - start, 8)
        for kind, flags, start, stop in (
            (_PT_LOAD, _READABLE | _EXECUTABLE, *code),
            (_PT_LOAD, _READABLE, constants[0], end),
            (_PT_DYNAMIC, _READABLE, dynamic_at, symbols_at),
        )
    )
    return bytes(image)


def _string(raw: bytes, at: int) -> str:
    return raw[at : raw.index(b"\0", at)].decode()


if __name__ == "__main__":
    try:
        Path(sys.argv[2]).write_bytes(link(Path(sys.argv[1]).read_bytes()))
    except LinkError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
