from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.chain.chain_logs import IDL, OURS, STRANGER, SYSTEM
from zmartd.chain.failure_names import CURVE
from zmartd.chain.failures import ProgramFailure, explain_failure, failure_named


def failed(program: str) -> str:
    return f"Program {program} failed: custom program error: 0x0"


def custom(code: int, *logs: str) -> ProgramFailure:
    return explain_failure({"InstructionError": [3, {"Custom": code}]}, logs, IDL)


def test_our_program_s_error_has_the_idl_s_name_and_message() -> None:
    failure = custom(6018, failed(OURS))
    assert failure == ProgramFailure(
        6018, "TradeTooSmall", "A trade must be worth at least 10000 lamports", 3
    )


STATE = (
    "The market is not in the state for this, or not at this time: `next` in GET /api/markets/{id} says what "
    "can happen with it now."
)
STATE_ERRORS = {
    *("InvalidStateTransition", "InvalidMarketState", "InvalidStateForVoting", "InvalidTimestamp"),
    *("AlreadyResolved", "AlreadyDisputed", "CannotCancelMarket"),
    *("DisputePeriodEnded", "DisputePeriodNotEnded"),
}


def test_every_error_of_the_idl_is_explained() -> None:
    for error in IDL.errors:
        failure = custom(error.code, failed(OURS))
        assert failure.name == error.name
        message = STATE if failure.name in STATE_ERRORS else CURVE.get(error.name, error.msg)
        assert failure.message == failure_named(error.name, IDL).message == message


def test_no_error_speaks_of_the_arithmetic_of_the_price_curve() -> None:
    for error in IDL.errors:
        for failure in (custom(error.code, failed(OURS)), failure_named(error.name, IDL)):
            assert "xponent" not in failure.message
            assert "64 bits" not in failure.message


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
    assert custom(3012, log, failed(OURS)).message == "This wallet has never held shares in this market."
    other = log.replace("position", "config")
    assert custom(3012, other, failed(OURS)).message.endswith("Account: config.")


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
