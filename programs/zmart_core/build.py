"""Builds the programs: `python programs/zmart_core/build.py [--check]`.

Generates the interface header from the IDL, compiles the C sources with zig's clang and links them. The same
sources give the same bytes on every machine; `--check` compares with the committed programs instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import idl_headers
from link import LinkError, link

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SOURCES = HERE / "src"
IDL = REPOSITORY / "zmartd" / "chain" / "idl" / "zmart_core.json"
FORWARDER = REPOSITORY / "programs" / "forwarder"
PROGRAMS = {
    SOURCES / "program.c": REPOSITORY / "zmartd" / "embedded" / "programs" / "zmart_core.so",
    FORWARDER / "forwarder.c": FORWARDER / "forwarder.so",
}
"""The sources of each program, one translation unit, and where it is committed."""

ZIG = "0.15.2"
FLAGS = (
    *("-target", "bpfel-freestanding", "-mcpu=v2", "-mllvm", "-bpf-stack-size=4096"),
    *("-std=c17", "-O2", "-g0", "-ffreestanding", "-fno-builtin", "-fno-ident"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    *("-Wall", "-Wextra", "-Werror"),
)


class BuildError(Exception):
    """The program could not be built; the message says what to do."""


def build(source: Path) -> bytes:
    """A program's ELF. Raises BuildError."""
    _require_compiler()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "interface.h").write_text(_interface())
        compiled = Path(directory) / "program.o"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-I.", "-I", directory, "-c", str(source)]
        finished = subprocess.run(
            [*command, "-o", str(compiled)],
            cwd=SOURCES,
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": directory, "ZIG_LOCAL_CACHE_DIR": directory},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise BuildError(f"the compiler refused the sources:\n{finished.stderr}")
        try:
            return link(compiled.read_bytes())
        except LinkError as error:
            raise BuildError(f"the object could not be linked: {error}") from error


def _interface() -> str:
    try:
        return idl_headers.header(json.loads(IDL.read_text()))
    except ValueError as error:
        raise BuildError(f"{IDL.relative_to(REPOSITORY)}: {error}") from error


def _require_compiler() -> None:
    try:
        installed = version("ziglang")
    except PackageNotFoundError:
        installed = None
    if installed != ZIG:
        raise BuildError(
            f"the program is built with ziglang {ZIG}, and {installed or 'no ziglang'} is installed: "
            'pip install ".[program]"'
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the programs from their C sources.")
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed programs instead of writing them"
    )
    check = parser.parse_args().check
    try:
        built = {program: build(source) for source, program in PROGRAMS.items()}
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return max(_check(*one) if check else _write(*one) for one in built.items())


def _write(program: Path, built: bytes) -> int:
    program.parent.mkdir(exist_ok=True)
    program.write_bytes(built)
    print(f"{program.relative_to(REPOSITORY)}: {len(built)} bytes")
    return 0


def _check(program: Path, built: bytes) -> int:
    name = program.relative_to(REPOSITORY)
    if program.exists() and program.read_bytes() == built:
        print(f"{name} is what its sources build: {len(built)} bytes")
        return 0
    print(
        f"{name} is not what its sources build: run python programs/zmart_core/build.py and commit it",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
