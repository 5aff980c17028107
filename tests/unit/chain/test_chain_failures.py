from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.chain.chain_logs import IDL, OURS, STRANGER, SYSTEM
from zmartd.chain import failure_names
from zmartd.chain.failures import ProgramFailure, explain_failure, failure_named
from zmartd.chain.idl import ErrorCode


def failed(program: str) -> str:
    return f"Program {program} failed: custom program error: 0x0"


def custom(code: int, *logs: str) -> ProgramFailure:
    return explain_failure({"InstructionError": [3, {"Custom": code}]}, logs, IDL)


def test_our_program_s_error_has_the_idl_s_name_and_message() -> None:
    failure = custom(6018, failed(OURS))
    assert failure == ProgramFailure(
        6018,
        "TradeTooSmall",
        "The trade is worth less than 10000 lamports (0.00001 SOL); choose a larger amount.",
        3,
    )


def test_every_error_of_the_idl_is_explained() -> None:
    for error in IDL.errors:
        failure = custom(error.code, failed(OURS))
        assert (failure.name, failure.message) == (error.name, failure_named(error.name, IDL).message)


ACTIONS = re.compile(
    "(add|ask|build|buy|check|choose|create|do|get|have|leave|look|lower|put|raise|read|sell|send|sign|split|tell"
    "|try|vote|wait) "
)
IDENTIFIER = re.compile(r"[a-z]_[a-z]|[a-z][A-Z]|::|\b[ui](8|16|32|64|128)\b|0x|[{}]")
INTERNAL_WORDS = re.compile(
    r"exponent|fixed.point|logarithm|discriminator|sysvar|constraint|mut\b|underflow|overflow"
    r"|cannot move from|reserved field|reentran",
    re.IGNORECASE,
)


def every_failure() -> Iterator[ProgramFailure]:
    """The explanation of every error that our program, Anchor, the system program and the runtime have."""
    for error in IDL.errors:
        yield failure_named(error.name, IDL)
    for code in failure_names.ANCHOR:
        yield custom(code, failed(OURS))
    for account in ("position", "market", "global_config", "vote_record"):
        log = f"Program log: AnchorError caused by account: {account}. Error Code: AccountNotInitialized."
        yield custom(3012, log, failed(OURS))
    for code in failure_names.SYSTEM:
        yield custom(code, failed(SYSTEM))
    for name in (*failure_names.TRANSACTION, "NewInTheNextRelease", "?"):
        yield explain_failure(name, (), IDL)
    for name in (*failure_names.INSTRUCTION, "NewInTheNextRelease"):
        yield explain_failure({"InstructionError": [0, name]}, (), IDL)


def test_every_failure_says_in_plain_words_what_happened_and_what_to_do() -> None:
    failures = list(every_failure())
    assert len(failures) > 130
    for failure in failures:
        happened, _, remedy = failure.message.rpartition("; ")
        assert happened[:1].isupper(), failure
        assert remedy.endswith(".")
        assert ACTIONS.match(remedy), failure
        assert not IDENTIFIER.search(failure.message), failure
        assert not INTERNAL_WORDS.search(failure.message), failure
        assert len(failure.message) < 200, failure
    assert {error.name for error in IDL.errors} == {*failure_names.PROGRAM}


def test_no_lamports_has_one_name_whoever_misses_them() -> None:
    codes = {custom(1, failed(SYSTEM)).name, failure_named("InsufficientFunds", IDL).name}
    assert codes | {explain_failure({"InstructionError": [0, "InsufficientFunds"]}, (), IDL).name} == {
        "InsufficientFunds"
    }


def test_an_error_that_a_newer_idl_brings_is_told_as_the_idl_tells_it() -> None:
    newer = msgspec.structs.replace(IDL, errors=(ErrorCode(7000, "TooLate", "The day is over"),))
    assert failure_named("TooLate", newer).message == f"The day is over; {failure_names.REMEDY}."


@pytest.mark.parametrize(("code", "name"), [
    (101, "InstructionFallbackNotFound"),
    (2001, "ConstraintHasOne"),
    (2006, "ConstraintSeeds"),
    (3005, "AccountNotEnoughKeys"),
    (3007, "AccountOwnedByWrongProgram"),
    (3010, "AccountNotSigner"),
    (3012, "AccountNotInitialized"),
])  # fmt: skip
def test_anchor_s_own_errors_are_explained(code: int, name: str) -> None:
    assert custom(code, failed(OURS)).name == name


def test_an_anchor_error_names_the_account_that_caused_it() -> None:
    log = "Program log: AnchorError caused by account: position. Error Code: AccountNotInitialized."
    assert custom(3012, log, failed(OURS)).message == (
        "This wallet has never held shares in this market, so it has nothing to sell or to claim;"
        " check the market and the wallet."
    )
    other = log.replace("position", "vote_record")
    assert custom(3012, other, failed(OURS)) == custom(3012, failed(OURS))


def test_a_second_vote_is_the_system_program_s_error_inside_ours() -> None:
    failure = custom(0, failed(SYSTEM), failed(OURS))
    assert (failure.code, failure.name) == (0, "AccountAlreadyInUse")


def test_a_purchase_beyond_the_balance_is_the_system_program_s_error() -> None:
    assert custom(1, failed(SYSTEM), failed(OURS)).name == "InsufficientFunds"


def test_another_program_s_number_is_not_taken_for_ours() -> None:
    failure = custom(6018, failed(STRANGER), failed(OURS))
    assert failure.name == "CustomProgramError"
    assert STRANGER in failure.message


def test_without_logs_the_number_decides() -> None:
    assert custom(6018).name == "TradeTooSmall"
    assert custom(2006).name == "ConstraintSeeds"
    assert custom(1).name == "InsufficientFunds"
    assert custom(99_999).name == "CustomProgramError"


def test_a_message_cannot_forge_which_program_failed() -> None:
    failure = custom(6018, "Program log: " + failed(STRANGER), failed(OURS))
    assert failure.name == "TradeTooSmall"


@pytest.mark.parametrize(("err", "name", "index"), [
    ("BlockhashNotFound", "BlockhashNotFound", None),
    ("AlreadyProcessed", "AlreadyProcessed", None),
    ({"InsufficientFundsForRent": {"account_index": 2}}, "InsufficientFundsForRent", None),
    ({"InstructionError": [1, "MissingRequiredSignature"]}, "MissingRequiredSignature", 1),
    ({"InstructionError": [0, {"BorshIoError": "x"}]}, "BorshIoError", 0),
    ("SomethingThatComesWithTheNextRelease", "SomethingThatComesWithTheNextRelease", None),
])  # fmt: skip
def test_the_runtime_s_errors_keep_their_names(err: Any, name: str, index: int | None) -> None:
    failure = explain_failure(err, [], IDL)
    assert (failure.code, failure.name, failure.instruction_index) == (None, name, index)
    assert failure.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.none() | st.lists(json_values, max_size=3))
def test_any_error_and_any_logs_have_an_explanation(err: Any, logs: list[Any] | None) -> None:
    failure = explain_failure(err, logs, IDL)
    assert 0 < len(failure.name) <= 64
    assert failure.message
