"""Whatever is sent to the chain, its books balance."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.compute_budget import set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

import zmartd
from zmartd.chain.idl import default_idl
from zmartd.clock import SystemClock
from zmartd.embedded.localnet.chain.bank import Bank, NotLanded
from zmartd.embedded.localnet.chain.ledger import Ledger
from zmartd.embedded.localnet.chain.records import LandedTransaction

PROGRAM_FILE = Path(zmartd.__file__).parent / "embedded/programs/zmart_core.so"
IDL = default_idl()
SYSTEM = Pubkey.default()
RICH = [Keypair.from_seed(bytes([number]) * 32) for number in (1, 2, 3)]
SOL = 10**9
ADDRESSES = [
    *(wallet.pubkey() for wallet in RICH),
    *(Pubkey([number] * 32) for number in (201, 202)),
    SYSTEM,
    IDL.program_id,
    COMPUTE_BUDGET,
    Pubkey.from_string("SysvarC1ock11111111111111111111111111111111"),
    Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
    Pubkey.from_string("Ed25519SigVerify111111111111111111111111111"),
]

system_data = st.builds(
    lambda kind, lamports, tail: kind.to_bytes(4, "little") + lamports.to_bytes(8, "little") + bytes(tail),
    st.integers(0, 12),
    st.sampled_from([0, 5, SOL, 50 * SOL, 2**63]),
    st.sampled_from([0, 8, 40, 80]),
)
program_data = st.builds(
    lambda instruction, arguments: bytes(instruction.discriminator) + arguments,
    st.sampled_from(IDL.instructions),
    st.binary(max_size=100),
)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    program = draw(st.sampled_from([SYSTEM, SYSTEM, IDL.program_id, IDL.program_id, *ADDRESSES]))
    data = draw({SYSTEM: system_data, IDL.program_id: program_data}.get(program, st.binary(max_size=40)))
    accounts = draw(st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans(), st.booleans()), max_size=6))
    wallets = {wallet.pubkey() for wallet in RICH}
    return Instruction(
        program,
        data,
        [
            AccountMeta(key, is_signer=signs and key in wallets, is_writable=writes)
            for key, signs, writes in accounts
        ],
    )


@contextmanager
def fresh_bank() -> Iterator[Bank]:
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger(Path(directory) / "ledger.sqlite3")
        programs = {IDL.program_id: PROGRAM_FILE}
        balances = {wallet.pubkey(): 100 * SOL for wallet in RICH}
        yield Bank(ledger, SystemClock(), programs, 400, balances)
        ledger.close()


def signed(bank: Bank, sent: list[Instruction], price: int) -> VersionedTransaction:
    blockhash = bank.blocks.newest.blockhash
    assert blockhash is not None
    message = MessageV0.try_compile(RICH[0].pubkey(), [set_compute_unit_price(price), *sent], [], blockhash)
    signers = {wallet.pubkey(): wallet for wallet in RICH}
    needed = message.account_keys[: message.header.num_required_signatures]
    return VersionedTransaction(message, [signers[key] for key in needed])


def executed(bank: Bank, transaction: VersionedTransaction) -> tuple[LandedTransaction | None, Any]:
    """What landed, if it did; and the error."""
    try:
        landed = bank.execute(transaction)
    except NotLanded as refused:
        return None, refused.error
    return landed, landed.meta.err


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(instructions(), max_size=3), st.sampled_from([0, 1, 10**6])), max_size=6))
def test_nothing_is_made_or_lost_and_what_was_foretold_happens(
    transactions: list[tuple[list[Instruction], int]],
) -> None:
    with fresh_bank() as bank:
        for sent, price in transactions:
            bank.complete_slot()
            transaction = signed(bank, sent, price)
            before = {address: bank.accounts.current(address) for address in ADDRESSES}
            foretold, _ = bank.simulate(transaction)
            assert {address: bank.accounts.current(address) for address in ADDRESSES} == before
            landed, error = executed(bank, transaction)
            assert error == foretold.error
            if landed is None:
                assert {address: bank.accounts.current(address) for address in ADDRESSES} == before
                continue
            meta = landed.meta
            moved = {
                key: old - new
                for key, old, new in zip(landed.keys, meta.pre_balances, meta.post_balances, strict=True)
            }
            assert sum(moved.values()) == meta.fee
            if error is not None:
                assert {key: lamports for key, lamports in moved.items() if lamports} == {
                    landed.keys[0]: meta.fee
                }
            assert bank.transaction(landed.signature) == landed
        kept = dict(bank.ledger.accounts())
        assert all(bank.accounts.current(address) == account for address, account in kept.items())
