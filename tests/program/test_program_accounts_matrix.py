"""Every account of every instruction, wrong in every way that Anchor would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from tests.program.program_chain import (
    ACCOUNT_IN_USE,
    IDL,
    PROGRAM,
    SOL,
    SYSTEM_PROGRAM,
    Chain,
    Refused,
    error_code,
    with_account,
)
from tests.program.program_world import LIQUIDITY, World
from tests.program.valid_requests import REQUESTS, Request
from zmartd.chain import idl
from zmartd.chain.failure_names import ANCHOR

ACCOUNTS = {instruction.name: instruction.accounts for instruction in IDL.instructions}
CODES = {name: code for code, (name, _) in ANCHOR.items()} | {error.name: error.code for error in IDL.errors}
CREATED = {
    ("initialize_global_config", "global_config"),
    ("create_market", "market"),
    ("submit_proposal_vote", "vote_record"),
    ("submit_dispute_vote", "vote_record"),
    ("buy_shares", "position"),
}
"""Accounts that the instruction itself makes."""
STATE = {"global_config", "market", "position"}
"""Accounts of the program's that an instruction reads, unless it makes them."""

Condition = Callable[[str, idl.InstructionAccount], bool]

EVERY = [(name, account) for name, accounts in ACCOUNTS.items() for account in accounts]


def cases(*, condition: Condition | None = None) -> list[Any]:
    """(instruction, account) for the accounts for which `condition(instruction name, account)` holds."""
    return [
        pytest.param(name, account, id=f"{name}-{account.name}")
        for name, account in EVERY
        if condition is None or condition(name, account)
    ]


def is_read(name: str, account: idl.InstructionAccount) -> bool:
    return account.name in STATE and (name, account.name) not in CREATED


READ = cases(condition=is_read)
MADE = cases(condition=lambda name, account: (name, account.name) in CREATED)
SIGNING = cases(condition=lambda name, account: account.signer)
WRITABLE = cases(condition=lambda name, account: account.writable)


def index_of(name: str, account: idl.InstructionAccount) -> int:
    return ACCOUNTS[name].index(account)


def meta_of(request: Request, name: str, account: idl.InstructionAccount) -> AccountMeta:
    return request.instruction.accounts[index_of(name, account)]


def replaced(request: Request, name: str, account: idl.InstructionAccount, address: Pubkey) -> Instruction:
    """The request with another address in one account's place, its flags kept."""
    old = meta_of(request, name, account)
    return with_account(
        request.instruction, index_of(name, account), AccountMeta(address, old.is_signer, old.is_writable)
    )


def assert_blamed(refused: Refused, error: str, account: str) -> None:
    """Refused with Anchor's number and in Anchor's words."""
    assert refused.code == CODES[error], refused.logs
    beginning = f"AnchorError caused by account: {account}. Error Code: {error}. "
    assert refused.line.startswith(f"{beginning}Error Number: {CODES[error]}. Error Message: "), refused.line
    assert refused.line.endswith(".")


def test_the_matrix_knows_every_instruction() -> None:
    assert set(REQUESTS) == set(ACCOUNTS)
    assert len(REQUESTS) == 18


@pytest.mark.parametrize("name", REQUESTS)
def test_the_request_lands_when_nothing_is_wrong_with_it(world: World, name: str) -> None:
    request = REQUESTS[name](world)
    landed = world.chain.send(request.instruction, request.signer)
    words = name.replace("_", " ").title().replace(" ", "")
    assert landed.logs[1] == f"Program log: Instruction: {words}"
    assert len(landed.events) == 1


@pytest.mark.parametrize(("name", "account"), SIGNING)
def test_who_must_sign_must_sign(world: World, name: str, account: idl.InstructionAccount) -> None:
    request = REQUESTS[name](world)
    old = meta_of(request, name, account)
    unsigned = AccountMeta(old.pubkey, is_signer=False, is_writable=old.is_writable)
    refused = world.chain.refusal(with_account(request.instruction, index_of(name, account), unsigned))
    assert_blamed(refused, "AccountNotSigner", account.name)


@pytest.mark.parametrize(("name", "account"), WRITABLE)
def test_what_changes_must_be_writable(world: World, name: str, account: idl.InstructionAccount) -> None:
    request = REQUESTS[name](world)
    old = meta_of(request, name, account)
    read_only = AccountMeta(old.pubkey, old.is_signer, is_writable=False)
    instruction = with_account(request.instruction, index_of(name, account), read_only)
    assert_blamed(world.chain.refusal(instruction, request.signer), "ConstraintMut", account.name)


@pytest.mark.parametrize(("name", "account"), cases())
def test_no_account_may_be_missing(world: World, name: str, account: idl.InstructionAccount) -> None:
    request = REQUESTS[name](world)
    metas = request.instruction.accounts[: index_of(name, account)]
    instruction = Instruction(PROGRAM.program_id, request.instruction.data, metas)
    assert_blamed(world.chain.refusal(instruction, request.signer), "AccountNotEnoughKeys", account.name)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("extra", [1, 30])
def test_accounts_after_the_last_are_ignored(world: World, name: str, extra: int) -> None:
    request = REQUESTS[name](world)
    metas = list(request.instruction.accounts)
    strangers = [AccountMeta(Pubkey([7] * 31 + [i]), False, True) for i in range(min(extra, 8))]
    metas += (strangers + metas * extra)[:extra]
    world.chain.send(Instruction(PROGRAM.program_id, request.instruction.data, metas), request.signer)


@pytest.mark.parametrize(("name", "account"), READ)
def test_an_account_must_exist(world: World, name: str, account: idl.InstructionAccount) -> None:
    request = REQUESTS[name](world)
    instruction = replaced(request, name, account, Pubkey([9] * 32))
    assert_blamed(world.chain.refusal(instruction, request.signer), "AccountNotInitialized", account.name)


@pytest.mark.parametrize(("name", "account"), READ)
def test_a_wallet_is_no_account_of_the_program(
    world: World, name: str, account: idl.InstructionAccount
) -> None:
    request = REQUESTS[name](world)
    instruction = replaced(request, name, account, world.treasury.pubkey())
    refused = world.chain.refusal(instruction, request.signer)
    assert_blamed(refused, "AccountOwnedByWrongProgram", account.name)


@pytest.mark.parametrize(("name", "account"), READ)
def test_another_programs_copy_of_an_account_counts_for_nothing(
    world: World, name: str, account: idl.InstructionAccount
) -> None:
    request = REQUESTS[name](world)
    address = meta_of(request, name, account).pubkey
    real = world.chain.account(address)
    world.chain.runtime.set_account(address, Account(real.lamports, real.data, Pubkey([3] * 32)))
    refused = world.chain.refusal(request.instruction, request.signer)
    assert_blamed(refused, "AccountOwnedByWrongProgram", account.name)


@pytest.mark.parametrize(("name", "account"), READ)
def test_a_copy_at_another_address_counts_for_nothing(
    world: World, name: str, account: idl.InstructionAccount
) -> None:
    request = REQUESTS[name](world)
    real = world.chain.account(meta_of(request, name, account).pubkey)
    copy = Pubkey([5] * 32)
    world.chain.runtime.set_account(copy, real)
    refused = world.chain.refusal(replaced(request, name, account, copy), request.signer)
    assert_blamed(refused, "ConstraintSeeds", account.name)


@pytest.mark.parametrize(("name", "account"), READ)
def test_an_account_must_hold_what_its_name_says(
    world: World, name: str, account: idl.InstructionAccount
) -> None:
    request = REQUESTS[name](world)
    address = meta_of(request, name, account).pubkey
    real = world.chain.account(address)
    unreadable = {
        "AccountDiscriminatorNotFound": real.data[:7],
        "AccountDiscriminatorMismatch": bytes(8) + real.data[8:],
        "AccountDidNotDeserialize": real.data[:100],
    }
    for error, data in unreadable.items():
        world.chain.runtime.set_account(address, Account(real.lamports, data, real.owner))
        assert_blamed(world.chain.refusal(request.instruction, request.signer), error, account.name)


@pytest.mark.parametrize(("name", "account"), MADE)
def test_what_is_made_is_made_at_its_address(
    world: World, name: str, account: idl.InstructionAccount
) -> None:
    request = REQUESTS[name](world)
    instruction = replaced(request, name, account, Pubkey([5] * 32))
    assert_blamed(world.chain.refusal(instruction, request.signer), "ConstraintSeeds", account.name)


@pytest.mark.parametrize(
    ("name", "account"),
    cases(condition=lambda name, account: name != "buy_shares" and (name, account.name) in CREATED),
)
def test_nothing_is_made_twice(world: World, name: str, account: idl.InstructionAccount) -> None:
    request = REQUESTS[name](world)
    world.chain.send(request.instruction, request.signer)
    address = meta_of(request, name, account).pubkey
    before = world.chain.account(address)
    assert world.chain.refusal(request.instruction, request.signer).code == ACCOUNT_IN_USE
    assert world.chain.account(address) == before


@pytest.mark.parametrize(("name", "account"), MADE)
@pytest.mark.parametrize("sent", [1, 890_880, SOL])
def test_lamports_sent_to_an_address_do_not_keep_it_from_being_made(
    world: World, name: str, account: idl.InstructionAccount, sent: int
) -> None:
    request = REQUESTS[name](world)
    address = meta_of(request, name, account).pubkey
    world.chain.give(address, sent)
    parties = {meta.pubkey for meta in request.instruction.accounts}
    before = sum(map(world.chain.lamports, parties))
    world.chain.send(request.instruction, request.signer)
    made = world.chain.account(address)
    assert made.owner == PROGRAM.program_id
    moved_in = LIQUIDITY if name == "create_market" else 0
    assert made.lamports == max(sent, world.chain.rent(address)) + moved_in, "the payer adds what is missing"
    assert sum(map(world.chain.lamports, parties)) == before


@pytest.mark.parametrize(
    ("name", "account"), cases(condition=lambda name, account: account.name == "system_program")
)
def test_only_the_system_program_is_the_system_program(
    world: World, name: str, account: idl.InstructionAccount
) -> None:
    request = REQUESTS[name](world)
    instruction = replaced(request, name, account, PROGRAM.program_id)
    assert_blamed(world.chain.refusal(instruction, request.signer), "InvalidProgramId", account.name)


@pytest.mark.parametrize("name", ["buy_shares", "sell_shares"])
def test_fees_go_to_the_configured_wallet_only(world: World, name: str) -> None:
    request = REQUESTS[name](world)
    (account,) = [account for account in ACCOUNTS[name] if account.name == "protocol_fee_wallet"]
    instruction = replaced(request, name, account, request.signer.pubkey())
    refused = world.chain.refusal(instruction, request.signer)
    assert_blamed(refused, "ConstraintAddress", "protocol_fee_wallet")


def authority_of(name: str) -> idl.InstructionAccount:
    (authority,) = [account for account in ACCOUNTS[name] if account.signer]
    return authority


STRANGERS = {
    **dict.fromkeys(
        (
            "update_global_config",
            "emergency_pause",
            "aggregate_proposal_votes",
            "aggregate_dispute_votes",
            "approve_proposal",
            "activate_market",
            "finalize_market",
            "withdraw_liquidity",
            "cancel_market",
        ),
        "Unauthorized",
    ),
    **dict.fromkeys(
        ("buy_shares", "sell_shares", "claim_winnings", "submit_proposal_vote", "submit_dispute_vote"),
        "ConstraintSeeds",
    ),
}
"""What a stranger's signature gets. The remaining instructions are anybody's."""


@pytest.mark.parametrize(("name", "error"), STRANGERS.items())
def test_a_strangers_signature_is_not_enough(world: World, name: str, error: str) -> None:
    request, stranger = REQUESTS[name](world), world.chain.wallet()
    instruction = replaced(request, name, authority_of(name), stranger.pubkey())
    assert world.chain.refusal(instruction, stranger).code == CODES[error]


HARMLESS = {
    ("initialize_global_config", "protocol_fee_wallet"),  # may be any address
}


def twins() -> list[object]:
    """Every two accounts of an instruction that are not meant to be the same."""
    return [
        pytest.param(name, account, other, id=f"{name}-{account.name}-is-{other.name}")
        for name, account in EVERY
        for other in ACCOUNTS[name]
        if other != account and (name, account.name) not in HARMLESS
    ]


@pytest.mark.parametrize(("name", "account", "other"), twins())
def test_one_account_cannot_play_two_roles(
    world: World, name: str, account: idl.InstructionAccount, other: idl.InstructionAccount
) -> None:
    """The program says no itself, for one of the two accounts, and nothing changes."""
    request = REQUESTS[name](world)
    address = meta_of(request, name, other).pubkey
    instruction = replaced(request, name, account, address)
    if account.signer and address != request.signer.pubkey():  # nobody can sign for it
        instruction = with_account(
            instruction, index_of(name, account), AccountMeta(address, False, account.writable)
        )
    before = balances(world.chain, request)
    refused = world.chain.refusal(instruction, request.signer)
    assert isinstance(refused.code, int), refused.logs
    assert refused.code in CODES.values()
    assert refused.line.startswith("AnchorError caused by account: ")
    assert balances(world.chain, request) == before


def balances(chain: Chain, request: Request) -> list[Account | None]:
    return [
        chain.runtime.get_account(meta.pubkey)
        for meta in request.instruction.accounts
        if meta.pubkey != SYSTEM_PROGRAM
    ]


def test_unauthorized_is_the_programs_own_error() -> None:
    assert error_code("Unauthorized") == 6029
