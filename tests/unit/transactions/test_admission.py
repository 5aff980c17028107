from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.config import COMPANIONS
from zmartd.transactions.admission import Admission, TransactionRefused

PROGRAM_CLIENT = Program(default_idl(), default_idl().program_id)
PROGRAM = PROGRAM_CLIENT.program_id
USER, OTHER = Keypair.from_seed(b"u" * 32), Keypair.from_seed(b"o" * 32)
WALLET = USER.pubkey()
BLOCKHASH = Hash.hash(b"block")
LIGHTHOUSE = Pubkey.from_string("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95")
EARLIER_LIGHTHOUSE = Pubkey.from_string("L1TEVtgA75k273wWz1s6XMmDhQY5i3MwcvKb4VbZzfK")
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
EARLIER_MEMO = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
MARKET = Pubkey([9] * 32)
admission = Admission(PROGRAM, COMPANIONS)


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
    assert not admitted.calls_other_programs


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
    assert refusal(unsigned) == (
        f"The transaction is not signed yet; sign it with its fee payer, {WALLET}, then send it."
    )
    assert refusal(bytes(altered)) == (
        "The signature is not that of the fee payer over these bytes; sign the transaction as it is, and "
        "change nothing of it afterwards."
    )


def test_other_programs_are_refused() -> None:
    drain = transfer(TransferParams(from_pubkey=WALLET, to_pubkey=OTHER.pubkey(), lamports=1))
    assert refusal(legacy(instruction(WALLET), drain)) == (
        f"The instruction at index 1, for {'1' * 32} and with data that begins with 0200000001000000, "
        f"may not stand beside one for {PROGRAM}: none of its program may; leave the instruction out, or "
        "send this transaction to the network yourself."
    )


def companion(program: Pubkey, data: bytes, *accounts: AccountMeta) -> Instruction:
    return Instruction(program, data, list(accounts))


@pytest.mark.parametrize(
    ("program", "data"),
    [
        *((LIGHTHOUSE, bytes([name, 4])) for name in range(2, 18)),
        *((EARLIER_LIGHTHOUSE, bytes([name, 4])) for name in range(2, 17)),
        *((program, b"") for program in (LIGHTHOUSE, EARLIER_LIGHTHOUSE)),
        *((program, data) for program in (MEMO, EARLIER_MEMO) for data in (b"", b"\0", b"hello")),
    ],
)
def test_what_cannot_move_anything_may_stand_before_and_behind(program: Pubkey, data: bytes) -> None:
    guard = companion(program, data, AccountMeta(WALLET, False, False), AccountMeta(MARKET, False, False))
    wire = legacy(guard, set_compute_unit_price(7), instruction(WALLET), guard)
    admitted = admission.admit(base64.b64encode(wire).decode(), str(WALLET))
    assert admitted.calls_other_programs


@pytest.mark.parametrize(
    ("program", "data"),
    [
        *((LIGHTHOUSE, bytes([name, 4])) for name in (0, 1, 18, 255)),
        *((EARLIER_LIGHTHOUSE, bytes([name, 4])) for name in (0, 1, 17, 255)),
        *((COMPUTE_BUDGET, bytes([name]) + bytes(8)) for name in (0, 5)),
        (COMPUTE_BUDGET, b""),
        (Pubkey([7] * 32), b"\x02"),
    ],
)
def test_what_is_not_listed_is_refused_wherever_it_stands(program: Pubkey, data: bytes) -> None:
    other = companion(program, data)
    first, last = refusal(legacy(other, instruction(WALLET))), refusal(legacy(instruction(WALLET), other))
    assert first.startswith(f"The instruction at index 0, for {program} and with")
    assert last.startswith(f"The instruction at index 1, for {program} and with")


BUY = PROGRAM_CLIENT.buy_shares(
    user=WALLET, market=MARKET, protocol_fee_wallet=OTHER.pubkey(), outcome=True, target_cost=5_000_000
)
VOTE = PROGRAM_CLIENT.submit_proposal_vote(user=WALLET, market=MARKET, vote=True)


@pytest.mark.parametrize("version", [None, 0])
@pytest.mark.parametrize("signs", [False, True])
def test_a_guard_may_name_what_our_instruction_writes_to(version: int | None, signs: bool) -> None:
    everything = [AccountMeta(one.pubkey, signs and one.is_signer, one.is_writable) for one in BUY.accounts]
    instructions = [companion(LIGHTHOUSE, b"\x06\x04", *everything), BUY]
    if version is None:
        assert admit(legacy(*instructions))
    else:
        message = MessageV0.try_compile(WALLET, instructions, [], BLOCKHASH)
        assert admit(bytes(VersionedTransaction(message, [USER])))


def test_a_guard_may_write_to_nothing_else() -> None:
    stranger = Pubkey([5] * 32)
    writing = companion(LIGHTHOUSE, b"\x06\x04", AccountMeta(stranger, False, True))
    assert refusal(legacy(BUY, writing)) == (
        f"The instruction at index 1, for {LIGHTHOUSE} and with data that begins with 0604, can write to "
        f"{stranger}, which no instruction for {PROGRAM} asks for; make this account read-only, leave the "
        "instruction out, or send this transaction to the network yourself."
    )
    reading = companion(LIGHTHOUSE, b"\x06\x04", AccountMeta(stranger, False, False))
    assert admit(legacy(BUY, reading))
    more = Instruction(PROGRAM, bytes(BUY.data), [*BUY.accounts, AccountMeta(stranger, False, True)])
    assert f"can write to {stranger}" in refusal(legacy(more, reading))
    unknown = Instruction(PROGRAM, b"\x01" * 8, [AccountMeta(stranger, False, True)])
    assert f"can write to {stranger}" in refusal(legacy(unknown, reading))


def test_what_the_program_may_take_is_what_its_instructions_say() -> None:
    def most(*instructions: Instruction) -> int:
        wire = legacy(*instructions)
        return admission.admit(base64.b64encode(wire).decode(), str(WALLET)).max_taken_lamports

    assert most(BUY) == 5_000_000 + 2_157_600
    assert most(VOTE) == 1_468_560
    assert most(BUY, VOTE, BUY, companion(MEMO, bytes(BUY.data))) == 2 * 7_157_600 + 1_468_560
    assert most(PROGRAM_CLIENT.withdraw_liquidity(creator=WALLET, market=MARKET)) == 0
    cut_off = Instruction(PROGRAM, bytes(BUY.data)[:-1], BUY.accounts)
    assert most(cut_off) == 0


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
    assert refusal(bytes(wire)).startswith("These bytes are not a Solana transaction; sign the one")


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
