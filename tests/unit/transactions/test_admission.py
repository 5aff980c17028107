from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from zmartd.transactions.admission import Admission, TransactionRefused

PROGRAM = Pubkey.from_string("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")
USER, OTHER = Keypair.from_seed(b"u" * 32), Keypair.from_seed(b"o" * 32)
WALLET = USER.pubkey()
BLOCKHASH = Hash.hash(b"block")
admission = Admission(PROGRAM)


def instruction(*signers: Pubkey, program: Pubkey = PROGRAM, data: bytes = b"\x01") -> Instruction:
    return Instruction(program, data, [AccountMeta(signer, True, True) for signer in signers])


def legacy(*instructions: Instruction, signers: tuple[Keypair, ...] = (USER,)) -> bytes:
    message = Message.new_with_blockhash(instructions, signers[0].pubkey(), BLOCKHASH)
    return bytes(Transaction(signers, message, BLOCKHASH))


def admit(wire: bytes, wallet: Pubkey = WALLET) -> str:
    return admission.admit(base64.b64encode(wire).decode(), str(wallet)).signature


def refusal(wire: bytes, wallet: Pubkey = WALLET) -> str:
    with pytest.raises(TransactionRefused) as refused:
        admit(wire, wallet)
    return refused.value.message


def test_a_transaction_that_the_caller_signed_alone_is_admitted() -> None:
    wire = legacy(set_compute_unit_limit(300_000), instruction(WALLET))
    admitted = admission.admit(base64.b64encode(wire).decode(), str(WALLET))
    assert admitted.signature == str(VersionedTransaction.from_bytes(wire).signatures[0])
    assert (admitted.wire, admitted.wallet) == (wire, str(WALLET))


def test_a_version_0_transaction_is_admitted_too() -> None:
    message = MessageV0.try_compile(WALLET, [instruction(WALLET)], [], BLOCKHASH)
    assert admit(bytes(VersionedTransaction(message, [USER])))


def test_somebody_elses_transaction_is_refused() -> None:
    message = refusal(legacy(instruction(WALLET)), wallet=OTHER.pubkey())
    assert message == (f"The fee payer must be the signed-in wallet, {OTHER.pubkey()}, not {WALLET}.")


def test_a_second_signer_is_refused_even_when_it_signed() -> None:
    wire = legacy(instruction(WALLET, OTHER.pubkey()), signers=(USER, OTHER))
    assert refusal(wire) == "The transaction must need exactly one signature, that of its fee payer."


def test_an_unsigned_or_altered_transaction_is_refused() -> None:
    message = Message.new_with_blockhash([instruction(WALLET)], WALLET, BLOCKHASH)
    unsigned = bytes(Transaction.new_unsigned(message))
    altered = bytearray(legacy(instruction(WALLET)))
    altered[-1] ^= 1
    for wire in (unsigned, bytes(altered)):
        assert refusal(wire) == "The signature is not that of the fee payer over these bytes."


def test_other_programs_are_refused() -> None:
    drain = transfer(TransferParams(from_pubkey=WALLET, to_pubkey=OTHER.pubkey(), lamports=1))
    assert "not for 11111111111111111111111111111111" in refusal(legacy(instruction(WALLET), drain))


def test_a_transaction_without_our_program_is_refused() -> None:
    wire = legacy(set_compute_unit_limit(1))
    assert refusal(wire) == f"The transaction must have an instruction for {PROGRAM}."


def test_lookup_tables_are_refused() -> None:
    table = AddressLookupTableAccount(Pubkey.new_unique(), [OTHER.pubkey()])
    with_lookup = Instruction(
        PROGRAM, b"", [AccountMeta(WALLET, True, True), AccountMeta(OTHER.pubkey(), False, True)]
    )
    message = MessageV0.try_compile(WALLET, [with_lookup], [table], BLOCKHASH)
    assert message.address_table_lookups
    assert "lookup tables" in refusal(bytes(VersionedTransaction(message, [USER])))


def test_a_program_hidden_behind_an_index_out_of_range_is_refused() -> None:
    wire = bytearray(legacy(instruction(WALLET)))
    index = wire.index(bytes(BLOCKHASH)) + 33
    wire[index] = 200
    assert refusal(bytes(wire)) == "These bytes are not a Solana transaction."


@pytest.mark.parametrize("encoded", ["", "!!!!", "AAAA", "é" * 10, "A" * 1644, "A" * 10_000_000])
def test_what_is_no_transaction_is_refused(encoded: str) -> None:
    with pytest.raises(TransactionRefused):
        admission.admit(encoded, str(WALLET))


def test_bytes_behind_the_end_are_refused() -> None:
    assert refusal(legacy(instruction(WALLET)) + b"\x00") == "There are bytes behind the transaction's end."


@given(st.binary(max_size=1_400))
def test_junk_is_refused_and_never_crashes(wire: bytes) -> None:
    with pytest.raises(TransactionRefused):
        admit(wire)
