"""A wallet signs the call that it asked for, and nothing else."""

from __future__ import annotations

import base64

import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction

from zmartd.chain.assemble import build_transaction, compute_budget
from zmartd.embedded.demo.signing import UnexpectedTransaction, sign_call

WALLET, STRANGER = Keypair.from_seed(bytes([1] * 32)), Keypair.from_seed(bytes([2] * 32))
PROGRAM = Pubkey([7] * 32)
ME, THEM = WALLET.pubkey(), STRANGER.pubkey()


def call(*signers: Pubkey, program: Pubkey = PROGRAM) -> Instruction:
    return Instruction(
        program, b"data", [AccountMeta(one, is_signer=True, is_writable=True) for one in signers]
    )


def unsigned(*instructions: Instruction, payer: Pubkey = ME) -> str:
    return base64.b64encode(build_transaction(list(instructions), payer, Hash.default())).decode()


def test_the_wallet_s_own_call_is_signed_as_it_is() -> None:
    asked = unsigned(*compute_budget(200_000), call(ME))
    signed = Transaction.from_bytes(base64.b64decode(sign_call(asked, WALLET, PROGRAM)))
    signed.verify()
    assert signed.message == Transaction.from_bytes(base64.b64decode(asked)).message


@pytest.mark.parametrize(
    ("trap", "reason"),
    [
        (unsigned(call(THEM), payer=THEM), "not the payer and only signer"),
        (unsigned(call(ME), payer=THEM), "not the payer and only signer"),
        (unsigned(call(ME, THEM)), "not the payer and only signer"),
        (unsigned(call(ME), transfer(TransferParams(from_pubkey=ME, to_pubkey=THEM, lamports=1))), "calls"),
        (unsigned(call(ME, program=Pubkey([8] * 32))), "calls"),
        (unsigned(call(ME), call(ME)), "calls"),
        (unsigned(*compute_budget(200_000)), "calls"),
        (unsigned(), "calls nothing"),
        ("not base64", "not a transaction in base64"),
        ("", "not a transaction in base64"),
        (base64.b64encode(b"junk").decode(), "not a transaction in base64"),
    ],
)
def test_anything_else_is_not_signed(trap: str, reason: str) -> None:
    with pytest.raises(UnexpectedTransaction, match=reason):
        sign_call(trap, WALLET, PROGRAM)
