"""The program is what its sources say: built again to the byte, or refused with a reason."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason='needs the compiler: pip install ".[program]"'
)

REPOSITORY = Path(__file__).parents[2]
BUILD = Path("programs/zmart_core/build.py")
FORWARDER = Path("programs/forwarder")
FORWARDER_PROGRAM = FORWARDER / "forwarder.so"
PROGRAM_C = Path("programs/zmart_core/src/program.c")
IDL = Path("zmartd/chain/idl/zmart_core.json")
PROGRAM = Path("zmartd/embedded/programs/zmart_core.so")

ENTRYPOINT = "Error entrypoint(u8 *memory) { return *memory; }\n"


class Checkout:
    """A copy of the repository's files that the build needs, somewhere else."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ignored = shutil.ignore_patterns("__pycache__")
        for directory in (BUILD.parent, FORWARDER):
            shutil.copytree(REPOSITORY / directory, root / directory, ignore=ignored)
        for file in (IDL, PROGRAM):
            (root / file).parent.mkdir(parents=True)
            shutil.copy(REPOSITORY / file, root / file)

    def build(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, self.root / BUILD, *options],
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def refusal(self) -> str:
        """Why there is no program."""
        finished = self.build()
        assert (finished.returncode, finished.stdout) == (1, "")
        return finished.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a place with a long name" / "zmartd")


def test_the_committed_programs_are_what_their_sources_build_anywhere(checkout: Checkout) -> None:
    checked = checkout.build("--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith(f"{PROGRAM} is what its sources build: ")


def test_a_program_that_its_sources_do_not_build_is_noticed(checkout: Checkout) -> None:
    (checkout.root / PROGRAM).write_bytes((REPOSITORY / PROGRAM).read_bytes()[:-1] + b"\1")
    (checkout.root / FORWARDER_PROGRAM).unlink()
    finished = checkout.build("--check")
    assert finished.returncode == 1
    assert finished.stderr.splitlines() == [
        f"{one} is not what its sources build: run python {BUILD} and commit it"
        for one in (PROGRAM, FORWARDER_PROGRAM)
    ]
    assert not (checkout.root / FORWARDER_PROGRAM).exists()


def test_a_change_of_the_interface_changes_the_program(checkout: Checkout) -> None:
    idl = json.loads((checkout.root / IDL).read_text())
    idl["errors"][0]["msg"] = "Something else"
    (checkout.root / IDL).write_text(json.dumps(idl))
    assert checkout.build().returncode == 0
    assert b"Something else" in (checkout.root / PROGRAM).read_bytes()


def test_an_interface_with_a_gap_in_its_errors_is_refused(checkout: Checkout) -> None:
    idl = json.loads((checkout.root / IDL).read_text())
    del idl["errors"][1]
    (checkout.root / IDL).write_text(json.dumps(idl))
    assert checkout.refusal() == f"{IDL}: the error codes must be consecutive\n"


def test_a_mistake_in_the_sources_is_told_as_the_compiler_tells_it(checkout: Checkout) -> None:
    (checkout.root / PROGRAM_C).write_text(
        '#include "types.h"\n' + ENTRYPOINT.replace("return *memory", "return nothing")
    )
    told = checkout.refusal()
    assert told.startswith("the compiler refused the sources:\n")
    assert "use of undeclared identifier 'nothing'" in told


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            ENTRYPOINT + "u64 counter = 5;",
            "section .data (8 bytes) is writable: a program on chain has no global variables, make it const "
            "or keep it on the stack",
        ),
        (ENTRYPOINT + "u64 counter;", "section .bss (8 bytes) is writable: a program on chain has no"),
        (
            "Error missing(void);\nError entrypoint(u8 *memory) { (void)memory; return missing(); }",
            "undefined function missing: it is neither in the program nor a syscall",
        ),
        (
            "void sol_curve_group_op(void);\n"
            "Error entrypoint(u8 *memory) { (void)memory; sol_curve_group_op(); return OK; }",
            "undefined function sol_curve_group_op",
        ),
        (
            "extern const u64 nowhere;\nError entrypoint(u8 *memory) { (void)memory; return nowhere; }",
            "undefined symbol nowhere",
        ),
        (
            "extern const u64 nowhere;\nconst u64 *const there = &nowhere;\n" + ENTRYPOINT,
            "undefined symbol nowhere",
        ),
        (ENTRYPOINT.replace("entrypoint", "main_program"), "the object does not define entrypoint"),
    ],
)
def test_what_cannot_run_on_chain_is_not_linked(checkout: Checkout, source: str, reason: str) -> None:
    (checkout.root / PROGRAM_C).write_text('#include "types.h"\n' + source)
    assert checkout.refusal().startswith(f"the object could not be linked: {reason}")
    assert (checkout.root / PROGRAM).read_bytes() == (REPOSITORY / PROGRAM).read_bytes()
