"""Builds zmart_core: headers from the IDL, C to eBPF with zig's clang, and the linker beside this file.

    python programs/zmart_core/build.py [--check]

The result is the same bytes on every machine. With --check nothing is written: the exit status is 1 when the
program that ships differs from what its source gives.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from link import link

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
IDL = REPOSITORY / "zmartd" / "chain" / "idl" / "zmart_core.json"
PROGRAM = REPOSITORY / "zmartd" / "embedded" / "programs" / "zmart_core.so"
COMPILER_VERSION = "0.15.2"
FLAGS = (
    *("-target", "bpfel-freestanding", "-mcpu=v2", "-O2", "-ffreestanding", "-fno-builtin", "-std=c11"),
    *("-Wall", "-Wextra", "-Werror", "-mllvm", "-bpf-stack-size=4096"),
)

FRAMEWORK_ERRORS = {
    101: ("InstructionFallbackNotFound", "The program has no such instruction"),
    102: ("InstructionDidNotDeserialize", "The instruction's arguments cannot be read"),
    2000: ("ConstraintMut", "The account has to be writable"),
    2006: ("ConstraintSeeds", "The account's address does not follow from its seeds"),
    2012: ("ConstraintAddress", "The account is not the one expected"),
    3001: ("AccountDiscriminatorNotFound", "The account is too small for a discriminator"),
    3002: ("AccountDiscriminatorMismatch", "The account is of another type"),
    3003: ("AccountDidNotDeserialize", "The account's data cannot be read"),
    3005: ("AccountNotEnoughKeys", "The instruction was given too few accounts"),
    3007: ("AccountOwnedByWrongProgram", "The account belongs to another program"),
    3008: ("InvalidProgramId", "The program is not the one expected"),
    3010: ("AccountNotSigner", "The account has to sign"),
    3012: ("AccountNotInitialized", "The account does not exist yet"),
}
"""Anchor's own errors, with the numbers and names that clients know."""


def header(idl: dict[str, Any]) -> Iterator[str]:
    """`generated.h`: error numbers and texts, and the discriminators of instructions, accounts and events."""
    errors = {error["code"]: (error["name"], error["msg"]) for error in idl["errors"]}
    errors = FRAMEWORK_ERRORS | errors
    yield "#pragma once"
    yield "enum {"
    for code, (name, _) in errors.items():
        yield f"    ERROR_{name} = {code},"
    yield "};"
    yield "typedef struct {"
    yield "    u64 code;"
    yield "    const char *name;"
    yield "    u64 name_length;"
    yield "    const char *message;"
    yield "    u64 message_length;"
    yield "} ErrorText;"
    yield "static const ErrorText ERROR_TEXT[] = {"
    for code, (name, message) in errors.items():
        yield f"    {{{code}, {json.dumps(name)}, {len(name)}, {json.dumps(message)}, {len(message)}}},"
    yield "};"
    for kind, prefix in (("instructions", "INSTRUCTION"), ("accounts", "ACCOUNT"), ("events", "EVENT")):
        for item in idl[kind]:
            name = item["name"].upper() if kind == "instructions" else item["name"]
            value = int.from_bytes(bytes(item["discriminator"]), "little")
            yield f"#define {prefix}_{name} 0x{value:016x}ul"


def build() -> bytes:
    """The program's ELF. Raises CalledProcessError or LinkError where compiler or linker refuse."""
    with tempfile.TemporaryDirectory() as directory:
        generated = Path(directory) / "generated.h"
        generated.write_text("\n".join(header(json.loads(IDL.read_text()))) + "\n")
        compiled = Path(directory) / "zmart_core.o"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-I", directory, "-c", "zmart_core.c"]
        subprocess.run([*command, "-o", str(compiled)], cwd=HERE / "src", check=True)
        return link(compiled.read_bytes())


def main() -> int:
    version = subprocess.run(
        [sys.executable, "-m", "ziglang", "version"], check=False, capture_output=True, text=True
    ).stdout.strip()
    if version != COMPILER_VERSION:
        sys.stderr.write(f'ziglang {COMPILER_VERSION} is needed: pip install "zmartd[program]"\n')
        return 2
    program = build()
    if "--check" not in sys.argv[1:]:
        PROGRAM.write_bytes(program)
        print(f"{PROGRAM.relative_to(REPOSITORY)}: {len(program)} bytes")
        return 0
    if not PROGRAM.exists() or PROGRAM.read_bytes() != program:
        sys.stderr.write(
            "the program that ships is not what its source gives: run programs/zmart_core/build.py\n"
        )
        return 1
    print("the program that ships is what its source gives")
    return 0


if __name__ == "__main__":
    sys.exit(main())
