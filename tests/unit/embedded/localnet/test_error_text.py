from typing import Any

import pytest

from zmartd.embedded.localnet.error_text import describe


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("BlockhashNotFound", "Blockhash not found"),
        ("SomethingNew", "SomethingNew"),
        (
            {"InstructionError": [2, {"Custom": 6006}]},
            "Error processing Instruction 2: custom program error: 0x1776",
        ),
        (
            {"InstructionError": [0, "InvalidSeeds"]},
            "Error processing Instruction 0: Provided seeds do not result in a valid address",
        ),
        ({"InstructionError": [1, "SomethingNew"]}, "Error processing Instruction 1: SomethingNew"),
        (
            {"InsufficientFundsForRent": {"account_index": 3}},
            "Transaction results in an account (3) with insufficient funds for rent",
        ),
        ({"SomethingNew": 1}, "{'SomethingNew': 1}"),
    ],
)
def test_an_error_is_told_in_solanas_words(error: Any, sentence: str) -> None:
    assert describe(error) == sentence
