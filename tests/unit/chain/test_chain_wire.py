from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from tests.unit.chain.chain_strategies import EVENTS, accounts, events
from zmartd.chain.accounts import ACCOUNTS, GlobalConfig, MarketAccount, UserPosition, VoteRecord
from zmartd.chain.codec import Codec
from zmartd.chain.events import DisputeInitiated, SharesBought, SharesTransferred
from zmartd.chain.idl import default_idl
from zmartd.chain.wire import UndecodableData
from zmartd.market.lifecycle import MarketState, VoteKind

CODEC = Codec(default_idl())
WALLET = Pubkey([9] * 32)


@given(events)
def test_an_event_survives_the_wire(event: Any) -> None:
    assert CODEC.decode_event(CODEC.encode_event(event)) == event


@given(accounts, st.binary(max_size=40))
def test_an_account_survives_the_wire_whatever_lies_behind_its_fields(account: Any, rest: bytes) -> None:
    assert type(account).decode(account.encode() + rest) == account


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_reason(data: bytes) -> None:
    try:
        event = CODEC.decode_event(data)
    except UndecodableData:
        return
    assert CODEC.encode_event(event) == data


@given(events, st.data())
def test_a_damaged_event_is_never_read_as_something_it_does_not_say(event: Any, data: st.DataObject) -> None:
    payload = bytearray(CODEC.encode_event(event))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    try:
        read = CODEC.decode_event(bytes(payload))
    except UndecodableData:
        return
    assert CODEC.encode_event(read) == bytes(payload)


@given(events)
def test_every_shorter_or_longer_payload_is_refused(event: Any) -> None:
    payload = CODEC.encode_event(event)
    for length in range(len(payload)):
        with pytest.raises(UndecodableData):
            CODEC.decode_event(payload[:length])
    with pytest.raises(UndecodableData, match="1 bytes too many"):
        CODEC.decode_event(payload + b"\0")


def test_the_bytes_of_a_purchase_are_little_endian_in_the_order_of_its_fields() -> None:
    event = SharesBought(b"m" * 32, WALLET, True, 1, 2**64 - 1, 500_000_000, -5)
    assert CODEC.encode_event(event) == (
        bytes.fromhex("f062450afdeae241")
        + b"m" * 32
        + b"\x09" * 32
        + b"\x01"
        + b"\x01\0\0\0\0\0\0\0"
        + b"\xff" * 8
        + b"\x00\x65\xcd\x1d\0\0\0\0"
        + b"\xfb" + b"\xff" * 7
    )  # fmt: skip


def test_an_absent_option_is_one_byte_long() -> None:
    absent = CODEC.encode_event(DisputeInitiated(b"m" * 32, WALLET, None, 1))
    present = CODEC.encode_event(DisputeInitiated(b"m" * 32, WALLET, False, 1))
    assert absent[72:] == b"\0" + (1).to_bytes(8, "little")
    assert present[72:] == b"\1\0" + (1).to_bytes(8, "little")


@pytest.mark.parametrize(("at", "value", "reason"), [
    (72, 2, "outcome: a bool must be 0 or 1, not 2"),
    (72, 255, "outcome: a bool must be 0 or 1, not 255"),
])  # fmt: skip
def test_a_bool_that_is_neither_0_nor_1_is_refused(at: int, value: int, reason: str) -> None:
    payload = bytearray(CODEC.encode_event(SharesBought(b"m" * 32, WALLET, True, 1, 2, 3, 4)))
    payload[at] = value
    with pytest.raises(UndecodableData, match=reason):
        CODEC.decode_event(bytes(payload))


def test_an_option_tag_that_is_neither_0_nor_1_is_refused() -> None:
    payload = bytearray(CODEC.encode_event(DisputeInitiated(b"m" * 32, WALLET, True, 1)))
    payload[72] = 2
    with pytest.raises(UndecodableData, match="disputed_outcome: an option's tag must be 0 or 1, not 2"):
        CODEC.decode_event(bytes(payload))


def test_a_market_state_that_does_not_exist_is_refused() -> None:
    data = bytearray(_market().encode())
    data[72] = 7
    with pytest.raises(UndecodableData, match="state: there is no variant 7 of MarketState"):
        MarketAccount.decode(bytes(data))


def test_an_account_of_another_kind_is_refused() -> None:
    vote = VoteRecord(WALLET, WALLET, VoteKind.DISPUTE, True, 5, 254)
    with pytest.raises(UndecodableData, match="this is not a MarketAccount"):
        MarketAccount.decode(vote.encode())


def test_an_account_that_ends_early_is_refused() -> None:
    with pytest.raises(UndecodableData, match=r"MarketAccount: .* bytes are too few"):
        MarketAccount.decode(_market().encode()[:-1])


def test_a_dispute_vote_record_is_told_from_a_proposal_vote_record() -> None:
    for kind, byte in ((VoteKind.PROPOSAL, 0), (VoteKind.DISPUTE, 1)):
        record = VoteRecord(WALLET, WALLET, kind, True, 5, 254)
        assert record.encode()[72] == byte
        assert VoteRecord.decode(record.encode()) == record


def test_the_accounts_fit_the_sizes_that_the_program_allocates() -> None:
    config = GlobalConfig(WALLET, WALLET, WALLET, 1, 2, 3, 4, 5, 6, 7, 8, False, b"\0" * 64, 1)
    position = UserPosition(WALLET, WALLET, 1, 2, 3, 4, 5, True, 6, b"\0" * 64, 1)
    largest = _market(proposed_outcome=True, final_outcome=True, cancelled_at=1)
    assert len(largest.encode()) <= 8 + 480
    assert len(position.encode()) == 182
    assert len(VoteRecord(WALLET, WALLET, VoteKind.DISPUTE, True, 5, 254).encode()) == 83
    assert len(config.encode()) == 8 + 3 * 32 + 5 * 2 + 2 * 8 + 2 + 1 + 64 + 1


@pytest.mark.parametrize(("field", "value"), [
    ("shares", 2**64), ("shares", -1), ("outcome", 1), ("outcome", None), ("from_", b"short"),
])  # fmt: skip
def test_a_value_that_does_not_fit_its_field_is_not_encoded(field: str, value: object) -> None:
    fields: dict[str, Any] = {
        "market": WALLET, "from_": WALLET, "to": WALLET, "outcome": True, "shares": 1, field: value,
    }  # fmt: skip
    with pytest.raises(ValueError, match=rf"SharesTransferred\.{field}"):
        CODEC.encode_event(SharesTransferred(**fields))


def test_every_event_and_account_has_a_discriminator_of_its_own() -> None:
    assert len(EVENTS) == 19
    assert len(ACCOUNTS) == 4


def _market(**changes: Any) -> MarketAccount:
    fields: dict[str, Any] = {
        "market_id": b"i" * 32, "creator": WALLET, "state": MarketState.ACTIVE, "b_parameter": 10**12,
        "initial_liquidity": 1, "current_liquidity": 2, "shares_yes": 3, "shares_no": 4, "total_volume": 5,
        "created_at": 6, "approved_at": 7, "activated_at": 8, "resolution_proposed_at": 9, "resolved_at": 0,
        "finalized_at": 0, "resolver": WALLET, "proposed_outcome": None, "final_outcome": None,
        "ipfs_evidence_hash": b"Q" * 46, "dispute_initiated_at": 0, "dispute_initiator": WALLET,
        "accumulated_protocol_fees": 1, "accumulated_resolver_fees": 2, "accumulated_lp_fees": 3,
        "proposal_likes": 1, "proposal_dislikes": 2, "proposal_total_votes": 3, "resolution_agree": 4,
        "resolution_disagree": 5, "resolution_total_votes": 6, "dispute_agree": 7, "dispute_disagree": 8,
        "dispute_total_votes": 9, "was_disputed": True, "is_cancelled": False, "cancelled_at": None,
        "is_locked": False, "reserved": b"\0" * 119, "bump": 255, **changes,
    }  # fmt: skip
    return MarketAccount(**fields)
