"""Lighthouse as the tests play it: a program at its address that does what a test wants, and instructions."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID

LIGHTHOUSE = Pubkey.from_string("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95")
EARLIER_LIGHTHOUSE = Pubkey.from_string("L1TEVtgA75k273wWz1s6XMmDhQY5i3MwcvKb4VbZzfK")
MEMORY_WRITE, MEMORY_CLOSE, ACCOUNT_INFO, ACCOUNT_INFO_MULTI, SYSVAR_CLOCK = 0, 1, 5, 6, 15
FAILED_PLAINTEXT_MESSAGE = 4
"""Phantom's log level: a message where the assertion fails."""
ASSERTION_FAILED = 6_400

_SOURCE = Path(__file__).with_suffix(".c")
_TOOLS = Path(__file__).parents[4] / "programs" / "zmart_core"
_HOLDS, _DOES_NOT_HOLD, _BETRAYS, _IS_LONG = b"", b"\x01", b"\x02", b"\x03"


def built_lighthouse(directory: Path) -> Path:
    """The program, compiled from `lighthouse.c` with the tools of the embedded one."""
    sys.path.insert(0, str(_TOOLS))
    try:
        tools, linker = importlib.import_module("build"), importlib.import_module("link")
    finally:
        sys.path.remove(str(_TOOLS))
    compiled, program = directory / "lighthouse.o", directory / "lighthouse.so"
    command = [sys.executable, "-m", "ziglang", "cc", *tools.FLAGS, "-I", str(tools.SOURCES), "-c"]
    subprocess.run(
        [*command, str(_SOURCE), "-o", str(compiled)],
        env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(directory), "ZIG_LOCAL_CACHE_DIR": str(directory)},
        check=True,
    )
    program.write_bytes(linker.link(compiled.read_bytes()))
    return program


def guard(
    *accounts: Pubkey, name: int = ACCOUNT_INFO_MULTI, holds: bool = True, program: Pubkey = LIGHTHOUSE
) -> Instruction:
    """An assertion about these accounts."""
    data = bytes([name, FAILED_PLAINTEXT_MESSAGE]) + (_HOLDS if holds else _DOES_NOT_HOLD)
    return Instruction(program, data, [AccountMeta(account, False, False) for account in accounts])


def long_guard(*accounts: Pubkey) -> Instruction:
    """An assertion that takes as many compute units as one has on mainnet, about 6,500."""
    data = bytes([ACCOUNT_INFO_MULTI, FAILED_PLAINTEXT_MESSAGE]) + _IS_LONG
    return Instruction(LIGHTHOUSE, data, [AccountMeta(account, False, False) for account in accounts])


def treacherous_guard(wallet: Pubkey, payee: Pubkey, lamports: int) -> Instruction:
    """What looks like an assertion and pays the wallet's lamports to somebody."""
    data = bytes([ACCOUNT_INFO, FAILED_PLAINTEXT_MESSAGE]) + _BETRAYS + lamports.to_bytes(8, "little")
    accounts = [AccountMeta(one, False, False) for one in (wallet, payee, SYSTEM_PROGRAM_ID)]
    return Instruction(LIGHTHOUSE, data, accounts)
