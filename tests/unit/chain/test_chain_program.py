from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.compute_budget import ID as COMPUTE_BUDGET_ID
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import Transaction, VersionedTransaction

from tests.unit.chain.chain_logs import IDL
from zmartd.chain.assemble import TransactionTooLarge, build_transaction, compute_budget, sign
from zmartd.chain.idl import IdlError, load_idl
from zmartd.chain.interface import INTERFACE
from zmartd.chain.program import Program

PROGRAM_ID = IDL.program_id
PROGRAM = Program(IDL, PROGRAM_ID)
WALLET, MARKET, FEES, OTHER = (Pubkey([byte] * 32) for byte in (1, 2, 3, 4))
MARKET_ID = bytes(range(32))
CID = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
CID_HEX = CID.encode().hex()
BLOCKHASH = Hash(bytes([8] * 32))


def derived(*seeds: bytes) -> Pubkey:
    return Pubkey.find_program_address(seeds, PROGRAM_ID)[0]


NAMED = {
    "config": derived(b"global-config"),
    "system": Pubkey.from_string("1" * 32),
    "wallet": WALLET,
    "market": MARKET,
    "new market": derived(b"market", MARKET_ID),
    "position": derived(b"position", bytes(MARKET), bytes(WALLET)),
    "proposal vote": derived(b"vote", bytes(MARKET), bytes(WALLET), b"\0"),
    "dispute vote": derived(b"vote", bytes(MARKET), bytes(WALLET), b"\1"),
    "fees": FEES,
    "other": OTHER,
}

GOLDEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "activate_market": (
        {"authority": WALLET, "market": MARKET},
        "0a1ac57471634859",
        "wallet:sw market:w config",
    ),
    "aggregate_dispute_votes": (
        {"backend_authority": WALLET, "market": MARKET, "final_agrees": 6, "final_disagrees": 2**32 - 1},
        "4a0e1e13d48d7019" "06000000" "ffffffff",
        "market:w config wallet:s",
    ),
    "aggregate_proposal_votes": (
        {"backend_authority": WALLET, "market": MARKET, "final_likes": 7, "final_dislikes": 256},
        "1a9c1215b9b0ca48" "07000000" "00010000",
        "market:w config wallet:s",
    ),
    "approve_proposal": (
        {"admin": WALLET, "market": MARKET},
        "886c665562720793",
        "wallet:sw market:w config",
    ),
    "buy_shares": (
        {
            "user": WALLET, "market": MARKET, "protocol_fee_wallet": FEES, "outcome": True,
            "target_cost": 1_000_000_000,
        },
        "28ef8a9a08256a6c" "01" "00ca9a3b00000000",
        "config market:w position:w wallet:sw fees:w system",
    ),
    "cancel_market": ({"admin": WALLET, "market": MARKET}, "cd7954d2de47960b", "wallet:s market:w config"),
    "claim_winnings": (
        {"user": WALLET, "market": MARKET, "resolver": OTHER},
        "a1d7183b0eecf2dd",
        "config market:w position:w wallet:sw other:w system",
    ),
    "create_market": (
        {
            "creator": WALLET, "market_id": MARKET_ID, "b_parameter": 10**12, "initial_liquidity": 1,
            "ipfs_question_hash": CID,
        },
        "67e261ebc8bcfbfe" + MARKET_ID.hex() + "0010a5d4e8000000" "0100000000000000" + CID_HEX,
        "wallet:sw new-market:w config system",
    ),
    "emergency_pause": ({"admin": WALLET}, "158f1b8ec8b5d2ff", "wallet:s config:w"),
    "finalize_market": (
        {"backend_authority": WALLET, "market": MARKET, "dispute_agree": 3, "dispute_disagree": None},
        "10e1261cd5d901f7" "0103000000" "00",
        "config market:w wallet:s",
    ),
    "initialize_global_config": (
        {"admin": WALLET, "protocol_fee_wallet": FEES, "backend_authority": OTHER},
        "71d87a83e1d11637" + bytes(OTHER).hex(),
        "wallet:sw config:w fees system",
    ),
    "initiate_dispute": (
        {"initiator": WALLET, "market": MARKET}, "80f2a0172c3dab25", "config market:w wallet:s"
    ),
    "resolve_market": (
        {"resolver": WALLET, "market": MARKET, "proposed_outcome": False, "ipfs_evidence_hash": CID},
        "9b1750ad2e4a17ef" "00" + CID_HEX,
        "config market:w wallet:sw",
    ),
    "sell_shares": (
        {
            "user": WALLET, "market": MARKET, "protocol_fee_wallet": FEES, "outcome": False,
            "shares_to_sell": 2**64 - 1, "min_proceeds": 0,
        },
        "b8a4a910e79ec7c4" "00" "ffffffffffffffff" "0000000000000000",
        "config market:w position:w wallet:sw fees:w system",
    ),
    "submit_dispute_vote": (
        {"user": WALLET, "market": MARKET, "vote": True},
        "31df3d4298eb48e6" "01",
        "market dispute-vote:w wallet:sw system",
    ),
    "submit_proposal_vote": (
        {"user": WALLET, "market": MARKET, "vote": False},
        "b1bb3be61db90ef0" "00",
        "market proposal-vote:w wallet:sw system",
    ),
    "update_global_config": (
        {
            "admin": WALLET, "protocol_fee_bps": 300, "resolver_reward_bps": 200,
            "liquidity_provider_fee_bps": 500, "proposal_approval_threshold": 7000,
            "dispute_success_threshold": 6000, "min_resolution_delay": 86_400,
        },
        "a45482bd6f3afac8" "2c01" "c800" "f401" "581b" "7017" "018051010000000000" "00",
        "wallet:s config:w",
    ),
    "withdraw_liquidity": (
        {"creator": WALLET, "market": MARKET}, "959e21b92ff3fd1f", "market:w wallet:sw"
    ),
}  # fmt: skip


def metas(instruction: Instruction) -> list[tuple[Pubkey, bool, bool]]:
    return [(meta.pubkey, meta.is_signer, meta.is_writable) for meta in instruction.accounts]


@pytest.mark.parametrize("name", GOLDEN)
def test_an_instruction_has_exactly_the_bytes_and_accounts_that_the_program_reads(name: str) -> None:
    arguments, data_hex, accounts = GOLDEN[name]
    instruction = getattr(PROGRAM, name)(**arguments)
    assert instruction.program_id == PROGRAM_ID
    assert instruction.data.hex() == data_hex
    expected = []
    for account in accounts.split():
        label, _, flags = account.partition(":")
        expected.append((NAMED[label.replace("-", " ")], "s" in flags, "w" in flags))
    assert metas(instruction) == expected


def test_every_instruction_of_the_program_has_its_golden_bytes() -> None:
    assert set(GOLDEN) == {instruction.name for instruction in IDL.instructions} == set(INTERFACE)


@given(st.booleans(), st.integers(0, 2**64 - 1))
def test_any_amount_that_fits_is_written_as_it_is(outcome: bool, amount: int) -> None:
    instruction = PROGRAM.buy_shares(
        user=WALLET, market=MARKET, protocol_fee_wallet=FEES, outcome=outcome, target_cost=amount
    )
    assert instruction.data[8:] == bytes([outcome]) + amount.to_bytes(8, "little")


@pytest.mark.parametrize("amount", [-1, 2**64, 1.5])
def test_an_amount_that_does_not_fit_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match="buy_shares: an argument does not fit"):
        PROGRAM.buy_shares(
            user=WALLET, market=MARKET, protocol_fee_wallet=FEES, outcome=True, target_cost=amount
        )


@pytest.mark.parametrize(("market_id", "cid", "reason"), [
    (b"short", CID, "a market id must have 32 bytes, not 5"),
    (b"x" * 33, CID, "a market id must have 32 bytes, not 33"),
    (MARKET_ID, "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "CIDv0 of 46 characters"),
    (MARKET_ID, "é" * 46, "CIDv0 of 46 characters"),
])  # fmt: skip
def test_an_id_of_another_length_is_refused(market_id: bytes, cid: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PROGRAM.create_market(
            creator=WALLET, market_id=market_id, b_parameter=1, initial_liquidity=1, ipfs_question_hash=cid
        )


def test_another_deployment_derives_its_own_addresses() -> None:
    other = Program(IDL, OTHER)
    pause = other.emergency_pause(admin=WALLET)
    assert pause.program_id == OTHER
    assert pause.accounts[1].pubkey == Pubkey.find_program_address([b"global-config"], OTHER)[0]


PACKAGED = json.loads(resources.files("zmartd.chain").joinpath("idl/zmart_core.json").read_bytes())


def test_an_idl_whose_purchase_wants_other_accounts_is_refused() -> None:
    idl = json.loads(json.dumps(PACKAGED))
    purchase = next(item for item in idl["instructions"] if item["name"] == "buy_shares")
    purchase["accounts"][2]["name"] = "user_position"
    with pytest.raises(IdlError, match=r"instructions\.buy_shares\.accounts: must be .* user_position"):
        Program(load_idl(json.dumps(idl).encode()), PROGRAM_ID)


def test_an_idl_whose_resolution_wants_another_argument_is_refused() -> None:
    idl = json.loads(json.dumps(PACKAGED))
    resolution = next(item for item in idl["instructions"] if item["name"] == "resolve_market")
    resolution["args"][0]["type"] = {"defined": {"name": "VoteType"}}
    with pytest.raises(IdlError, match=r"resolve_market\.args: .* enum<Proposal, Dispute>"):
        Program(load_idl(json.dumps(idl).encode()), PROGRAM_ID)


def test_an_idl_without_an_instruction_that_is_sent_is_refused() -> None:
    idl = json.loads(json.dumps(PACKAGED))
    idl["instructions"] = [item for item in idl["instructions"] if item["name"] != "approve_proposal"]
    with pytest.raises(IdlError, match=r"instructions\.approve_proposal: is missing"):
        Program(load_idl(json.dumps(idl).encode()), PROGRAM_ID)


VOTE = PROGRAM.submit_proposal_vote(user=WALLET, market=MARKET, vote=True)


def test_an_unsigned_transaction_is_one_that_wallets_can_read_and_sign() -> None:
    wire = build_transaction([*compute_budget(60_000, 5), VOTE], WALLET, BLOCKHASH)
    transaction = Transaction.from_bytes(wire)
    assert bytes(VersionedTransaction.from_bytes(wire)) == wire
    assert [bytes(signature) for signature in transaction.signatures] == [bytes(64)]
    assert transaction.message.account_keys[0] == WALLET
    assert transaction.message.recent_blockhash == BLOCKHASH
    programs = [transaction.message.program_id(index) for index in range(3)]
    assert programs == [COMPUTE_BUDGET_ID, COMPUTE_BUDGET_ID, PROGRAM_ID]


def test_a_price_of_nothing_needs_no_instruction() -> None:
    assert [bytes(item.data) for item in compute_budget(60_000)] == [b"\x02" + (60_000).to_bytes(4, "little")]


@pytest.mark.parametrize("units", [0, -1, 1_400_001])
def test_compute_units_beyond_the_runtime_s_bound_are_refused(units: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1400000"):
        compute_budget(units)


def test_the_authority_s_transaction_is_signed_and_knows_its_signature() -> None:
    authority = Keypair.from_seed(bytes(range(32)))
    pause = PROGRAM.emergency_pause(admin=authority.pubkey())
    signed = sign([pause], authority, BLOCKHASH, 500, "pause")
    transaction = Transaction.from_bytes(signed.wire)
    transaction.verify()
    assert signed.signature == str(transaction.signatures[0])
    assert (signed.last_valid_block_height, signed.purpose) == (500, "pause")


def test_more_instructions_than_fit_one_packet_are_refused() -> None:
    with pytest.raises(TransactionTooLarge, match="do not fit"):
        build_transaction([VOTE] * 200, WALLET, BLOCKHASH)
