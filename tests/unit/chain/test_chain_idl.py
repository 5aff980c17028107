from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from zmartd.chain.codec import Codec
from zmartd.chain.idl import IdlError, default_idl, load_idl
from zmartd.chain.pdas import Pdas
from zmartd.market.lifecycle import VoteKind

PACKAGED = json.loads(resources.files("zmartd.chain").joinpath("idl/zmart_core.json").read_bytes())
SYSTEM_PROGRAM = "1" * 32

EVENT_DISCRIMINATORS = {
    "MarketCreated": "58b882e7e254063a",
    "ProposalAggregated": "eaa647763cf38bd5",
    "ProposalApproved": "46319be49d2b5831",
    "MarketActivated": "c4494e30bb846b0b",
    "MarketResolved": "5943e65f8f6ac7ca",
    "DisputeInitiated": "966d5dfcc604b799",
    "DisputeAggregated": "3a11d2a04b246926",
    "MarketFinalized": "533e42cc254ceab3",
    "MarketCancelled": "8ba321a813b451aa",
    "SharesBought": "f062450afdeae241",
    "SharesSold": "23e70535e49e71fb",
    "WinningsClaimed": "bbb81dc436754696",
    "LiquidityWithdrawn": "f078498b9a1fda44",
    "ProposalVoteSubmitted": "9c438f02d9a20638",
    "DisputeVoteSubmitted": "2702d5c34e0ac172",
    "GlobalConfigInitialized": "05ddac9e4d579d71",
    "ConfigUpdated": "28f1e67a0b13c6c2",
    "ProtocolPauseStatusChanged": "bd96d80167233167",
}


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    idl = json.loads(json.dumps(PACKAGED))
    change(idl)
    return json.dumps(idl).encode()


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def test_the_packaged_idl_is_accepted_and_names_the_program() -> None:
    idl = default_idl()
    assert idl.program_id == Pubkey.from_string("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")
    assert len(idl.instructions) == 18
    Codec(idl)


def test_the_events_carry_the_discriminators_that_the_deployed_program_logs() -> None:
    emitted = {event.name: bytes(event.discriminator).hex() for event in default_idl().events}
    assert emitted == EVENT_DISCRIMINATORS


def test_the_program_id_of_the_settings_wins_over_the_idl_s() -> None:
    other = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw"
    assert str(default_idl(other).program_id) == other


@pytest.mark.parametrize("program_id", ["", "not an address", "1" * 31, SYSTEM_PROGRAM + "1", "0" * 44])
def test_a_program_id_that_is_no_address_is_refused(program_id: str) -> None:
    with pytest.raises(IdlError, match="base58 of exactly 32 bytes"):
        default_idl(program_id)


def test_an_error_is_found_by_its_number() -> None:
    error = default_idl().error(6015)
    assert error is not None
    assert error.name == "SlippageExceeded"
    assert default_idl().error(5999) is None


@pytest.mark.parametrize(("section", "namespace", "name"), [
    ("instructions", "global", "buy_shares"),
    ("accounts", "account", "MarketAccount"),
    ("events", "event", "SharesBought"),
])  # fmt: skip
def test_a_discriminator_that_is_not_the_hash_of_its_name_is_refused(
    section: str, namespace: str, name: str
) -> None:
    def flip(idl: dict[str, Any]) -> None:
        named(idl[section], name)["discriminator"][0] ^= 1

    expected = hashlib.sha256(f"{namespace}:{name}".encode()).hexdigest()[:16]
    with pytest.raises(IdlError, match=rf"{section}\.{name}: the discriminator must be .* {expected}, not"):
        load_idl(changed(flip))


def rename_instruction(idl: dict[str, Any]) -> None:
    named(idl["instructions"], "approve_proposal")["name"] = "approve_market"


def use_an_undefined_type(idl: dict[str, Any]) -> None:
    named(idl["types"], "SharesBought")["type"]["fields"][0]["type"] = {"defined": {"name": "Nowhere"}}


def repeat_an_event(idl: dict[str, Any]) -> None:
    idl["events"].append(idl["events"][0])


def repeat_an_error_number(idl: dict[str, Any]) -> None:
    idl["errors"][1]["code"] = idl["errors"][0]["code"]


def use_another_spec(idl: dict[str, Any]) -> None:
    idl["metadata"]["spec"] = "0.2.0"


def lose_the_events(idl: dict[str, Any]) -> None:
    del idl["events"]


def nest_types_deeply(idl: dict[str, Any]) -> None:
    kind: Any = "u8"
    for _ in range(50):
        kind = {"option": kind}
    named(idl["types"], "SharesBought")["type"]["fields"][0]["type"] = kind


@pytest.mark.parametrize(("change", "message"), [
    (rename_instruction, r"instructions\.approve_market: the discriminator"),
    (use_an_undefined_type, r"events\.SharesBought: types: there is no type 'Nowhere'"),
    (repeat_an_event, r"events\.ConfigUpdated: appears 2 times"),
    (repeat_an_error_number, r"errors\.6000: appears 2 times"),
    (use_another_spec, r"metadata\.spec: only 0\.1\.0"),
    (lose_the_events, r"not an Anchor IDL of spec 0\.1\.0.*events"),
    (nest_types_deeply, r"events\.SharesBought: a type is nested deeper"),
])  # fmt: skip
def test_an_idl_that_breaks_a_rule_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(IdlError, match=message):
        load_idl(changed(change))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"not json", b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000]
)
def test_what_is_no_idl_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(IdlError):
        load_idl(content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json_values)
def test_any_json_in_place_of_a_type_is_refused(kind: object) -> None:
    def replace(idl: dict[str, Any]) -> None:
        named(idl["types"], "SharesBought")["type"]["fields"][0]["type"] = kind

    content = changed(replace)
    with pytest.raises(IdlError):
        Codec(load_idl(content))


def test_a_missing_file_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(IdlError, match=r"nowhere\.json: the IDL cannot be read"):
        load_idl(tmp_path / "nowhere.json")


def widen_a_field(idl: dict[str, Any]) -> None:
    named(named(idl["types"], "SharesSold")["type"]["fields"], "shares")["type"] = "u128"


def drop_a_field(idl: dict[str, Any]) -> None:
    named(idl["types"], "MarketAccount")["type"]["fields"].pop(3)


def swap_two_fields(idl: dict[str, Any]) -> None:
    fields = named(idl["types"], "UserPosition")["type"]["fields"]
    fields[2], fields[3] = fields[3], fields[2]


def add_a_field(idl: dict[str, Any]) -> None:
    named(idl["types"], "MarketFinalized")["type"]["fields"].append({"name": "extra", "type": "u8"})


def add_a_market_state(idl: dict[str, Any]) -> None:
    named(idl["types"], "MarketState")["type"]["variants"].insert(1, {"name": "Pending"})


def drop_an_event(idl: dict[str, Any]) -> None:
    idl["events"] = [event for event in idl["events"] if event["name"] != "MarketResolved"]


@pytest.mark.parametrize(("change", "message"), [
    (widen_a_field, r"events\.SharesSold\.shares: must be u64, but the IDL says u128"),
    (drop_a_field, r"accounts\.MarketAccount\.b_parameter: must be u64, but the IDL says missing"),
    (swap_two_fields, r"accounts\.UserPosition: the fields must be"),
    (add_a_field, r"events\.MarketFinalized: the fields must be .*; the IDL has .* extra"),
    (add_a_market_state, r"accounts\.MarketAccount\.state: must be enum<.* IDL says enum<Proposed, Pending"),
    (drop_an_event, r"events\.MarketResolved: is missing"),
])  # fmt: skip
def test_an_idl_of_another_program_version_is_refused_by_field(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    idl = load_idl(changed(change))
    with pytest.raises(IdlError, match=message):
        Codec(idl)


def test_an_event_that_this_version_does_not_know_does_not_make_the_idl_unusable() -> None:
    def add(idl: dict[str, Any]) -> None:
        digest = hashlib.sha256(b"event:FutureEvent").digest()[:8]
        idl["events"].append({"name": "FutureEvent", "discriminator": list(digest)})
        idl["types"].append({"name": "FutureEvent", "type": {"kind": "struct", "fields": []}})

    Codec(load_idl(changed(add)))


MARKET, USER, MARKET_ID = Pubkey([3] * 32), Pubkey([4] * 32), bytes(range(32))
SEEDS = {
    "market": bytes(MARKET), "user": bytes(USER), "market_id": MARKET_ID, "market.market_id": MARKET_ID,
}  # fmt: skip


@pytest.mark.parametrize(("instruction", "account"), [
    (instruction["name"], account["name"])
    for instruction in PACKAGED["instructions"]
    for account in instruction["accounts"]
    if "pda" in account
])  # fmt: skip
def test_every_derived_address_follows_the_seeds_of_the_idl(instruction: str, account: str) -> None:
    seeds = named(named(PACKAGED["instructions"], instruction)["accounts"], account)["pda"]["seeds"]
    raw = [bytes(seed["value"]) if seed["kind"] == "const" else SEEDS[seed["path"]] for seed in seeds]
    program_id = default_idl().program_id
    pdas = Pdas(program_id)
    vote = VoteKind.DISPUTE if "dispute" in instruction else VoteKind.PROPOSAL
    ours = {
        "global_config": pdas.global_config(),
        "market": pdas.market(MARKET_ID),
        "position": pdas.position(MARKET, USER),
        "vote_record": pdas.vote(MARKET, USER, vote),
    }
    assert ours[account] == Pubkey.find_program_address(raw, program_id)[0]


def test_two_deployments_keep_their_accounts_apart() -> None:
    first, second = Pdas(Pubkey([5] * 32)), Pdas(Pubkey([6] * 32))
    assert first.global_config() != second.global_config()
