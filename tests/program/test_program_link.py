"""The linker on objects written by hand, so that it is tested where there is no compiler too."""

from __future__ import annotations

import importlib.util
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import TransactionMetadata

TOOLS = Path(__file__).parents[2] / "programs" / "zmart_core"
RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")
CALL_AND_RETURN_0 = bytes.fromhex("85100000ffffffff") + RETURN_0

LOADED_ADDRESS, CALL = 1, 10
CODE, CONSTANT, WRITABLE = 2 | 4, 2, 2 | 1


@pytest.fixture(scope="module")
def linker() -> ModuleType:
    """`link.py`, which finds `elf.py` beside it as a script does."""
    sys.path.insert(0, str(TOOLS))
    try:
        spec = importlib.util.spec_from_file_location("zmart_core_link", TOOLS / "link.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(TOOLS))
    return module


@dataclass(frozen=True)
class Written:
    """An object of `.text` with the symbol `entrypoint`, one more section, and one relocation in `.text`."""

    text: bytes = RETURN_0
    entry: bytes = b"entrypoint"
    other: tuple[bytes, int, bytes] = (b".rodata", CONSTANT, b"constant")
    relocation: tuple[int, bytes, int] | None = None
    """(kind, name of the symbol, number of its section: 0 undefined, 1 `.text`, 2 the other)."""
    machine: int = 247
    file_type: int = 1

    def encode(self) -> bytes:
        other_name, other_flags, other_data = self.other
        kind, name, section = self.relocation or (0, b"unused", 1)
        strings = b"\0" + self.entry + b"\0" + name + b"\0"
        names = b"\0.text\0" + other_name + b"\0"
        symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x10, 0, 1, 0, 0)
        symbols += struct.pack("<IBBHQQ", 2 + len(self.entry), 0x10, 0, section, 0, 0)
        relocations = struct.pack("<QQ", 0, 2 << 32 | kind) if self.relocation else b""
        sections = [
            # name, kind, flags, data, link, info
            (0, 0, 0, b"", 0, 0),
            (1, 1, CODE, self.text, 0, 0),
            (7, 1, other_flags, other_data, 0, 0),
            (0, 2, 0, symbols, 4, 1),
            (0, 3, 0, strings, 0, 0),
            (0, 9, 0, relocations, 3, 1),
            (0, 3, 0, names, 0, 0),
        ]
        body, headers = bytearray(64), b""
        for at, section_kind, flags, data, link, info in sections:
            headers += struct.pack(
                "<IIQQQQIIQQ", at, section_kind, flags, 0, len(body), len(data), link, info, 8, 0
            )
            body += data + bytes(-len(data) % 8)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH",
            b"\x7fELF\x02\x01\x01",
            *(self.file_type, self.machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(sections), 6),
        )
        body[:64] = header
        return bytes(body) + headers


def refusal(linker: ModuleType, raw: bytes) -> str:
    with pytest.raises(linker.LinkError) as raised:
        linker.link(raw)
    return str(raised.value)


def run(program: bytes) -> list[str]:
    """The logs of a transaction that calls the program."""
    runtime, payer, address = LiteSVM(), Keypair(), Pubkey([7] * 32)
    runtime.airdrop(payer.pubkey(), 10**9)
    runtime.add_program(address, program)
    blockhash = runtime.latest_blockhash()
    message = Message.new_with_blockhash([Instruction(address, b"", [])], payer.pubkey(), blockhash)
    answer = runtime.send_transaction(Transaction([payer], message, blockhash))
    assert isinstance(answer, TransactionMetadata)
    return answer.logs()


def test_the_smallest_program_runs(linker: ModuleType) -> None:
    program = linker.link(Written().encode())
    assert program == linker.link(Written().encode())
    assert run(program)[-1].endswith("success")


def test_a_syscall_is_called_by_its_name(linker: ModuleType) -> None:
    written = Written(text=CALL_AND_RETURN_0, relocation=(CALL, b"sol_log_64_", 0))
    assert any("Program log: 0x" in line for line in run(linker.link(written.encode())))


def test_an_undefined_function_is_named(linker: ModuleType) -> None:
    written = Written(text=CALL_AND_RETURN_0, relocation=(CALL, b"__multi3", 0))
    assert refusal(linker, written.encode()) == (
        "undefined function __multi3: it is neither in the program nor a syscall"
    )


def test_an_undefined_constant_is_named(linker: ModuleType) -> None:
    load = bytes.fromhex("1801000000000000 0000000000000000") + RETURN_0
    written = Written(text=load, relocation=(LOADED_ADDRESS, b"nowhere", 0))
    assert refusal(linker, written.encode()) == "undefined symbol nowhere"


def test_a_writable_section_is_named(linker: ModuleType) -> None:
    written = Written(other=(b".data", WRITABLE, b"variable"))
    assert refusal(linker, written.encode()).startswith("section .data (8 bytes) is writable: ")


def test_constants_that_only_a_linker_writes_are_constants(linker: ModuleType) -> None:
    written = Written(other=(b".data.rel.ro", WRITABLE, b"constant"))
    assert run(linker.link(written.encode()))[-1].endswith("success")


def test_a_relocation_of_another_target_is_refused(linker: ModuleType) -> None:
    written = Written(relocation=(3, b"something", 1))
    assert refusal(linker, written.encode()) == "relocation of unknown kind 3 against something"


def test_a_program_needs_its_entry_point(linker: ModuleType) -> None:
    assert refusal(linker, Written(entry=b"main").encode()) == "the object does not define entrypoint"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n" * 100,
        Written(machine=62).encode(),
        Written(file_type=3).encode(),
        b"\x7fELF\x01" + Written().encode()[5:],
    ],
    ids=["nothing", "four bytes", "text", "x86-64", "linked already", "32 bits"],
)
def test_what_is_no_ebpf_object_is_refused(linker: ModuleType, raw: bytes) -> None:
    assert refusal(linker, raw) == "not a little-endian 64-bit relocatable eBPF object"


def test_an_object_that_ends_early_is_refused(linker: ModuleType) -> None:
    raw = Written(text=CALL_AND_RETURN_0, relocation=(CALL, b"sol_log_64_", 0)).encode()
    for length in range(len(raw)):
        assert refusal(linker, raw[:length])
