from __future__ import annotations

import base64
import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from tests.unit.chain.chain_logs import (
    BUDGET,
    CODEC,
    IDL,
    OURS,
    STRANGER,
    SYSTEM,
    data_line,
    event_line,
    frame,
    parsed,
    raw,
    runs_of,
)
from tests.unit.chain.chain_strategies import events
from zmartd.chain.arguments import MalformedTransaction, MarketCreation
from zmartd.chain.discriminators import discriminator
from zmartd.chain.events import ProposalAggregated, ProposalApproved, SharesBought, SharesTransferred
from zmartd.chain.logs import MAX_LOG_LINES, read_logs
from zmartd.chain.transactions import EventRecord, parse_transaction
from zmartd.market import ids

WALLET = Pubkey([9] * 32)
BOUGHT = SharesBought(b"m" * 32, WALLET, True, 10, 20, 500_000_000, 1_760_000_000)
LINE = event_line(BOUGHT)
LOG_OF_A_TRADE = [
    *frame(BUDGET),
    *frame(OURS, "Program log: Instruction: BuyShares", frame(SYSTEM, depth=2), frame(SYSTEM, depth=2), LINE),
]


def test_a_trade_s_event_is_read_with_its_place_on_the_chain() -> None:
    transaction = parsed(LOG_OF_A_TRADE, indexWithinBlock=12)
    assert transaction.events == (EventRecord(0, BOUGHT),)
    assert (transaction.slot, transaction.block_time, transaction.index_in_block) == (77, 1_760_000_000, 12)
    assert transaction.succeeded
    assert not transaction.logs_truncated


def test_each_event_of_a_transaction_has_an_ordinal_of_its_own() -> None:
    counted = ProposalAggregated(b"m" * 32, 8, 2, 80, True, 5)
    approved = ProposalApproved(b"m" * 32, WALLET, 5)
    logs = [*frame(OURS, event_line(counted)), *frame(OURS, event_line(approved))]
    assert parsed(logs).events == (EventRecord(0, counted), EventRecord(1, approved))


def test_a_transfer_is_understood_although_the_idl_does_not_name_it() -> None:
    transfer = SharesTransferred(Pubkey([1] * 32), Pubkey([2] * 32), Pubkey([3] * 32), False, 5)
    assert discriminator("event", "SharesTransferred") not in {
        bytes(event.discriminator) for event in IDL.events
    }
    assert parsed(frame(OURS, event_line(transfer))).events == (EventRecord(0, transfer),)


def test_our_program_s_event_counts_when_another_program_called_it() -> None:
    logs = frame(STRANGER, frame(OURS, LINE, depth=2))
    inner = [{"programIdIndex": 2, "accounts": [0], "data": ""}]
    called = [{"programIdIndex": 4, "accounts": [0], "data": ""}]
    assert parsed(logs, instructions=called, inner=inner).events == (EventRecord(0, BOUGHT),)


@pytest.mark.parametrize("logs", [
    pytest.param(frame(STRANGER, LINE), id="another program's data"),
    pytest.param(frame(OURS, frame(STRANGER, LINE, depth=2)), id="data of a program that ours called"),
    pytest.param(frame(OURS, "Program log: " + LINE), id="a message that looks like data"),
    pytest.param(frame(OURS, "Program log: x\n" + LINE), id="a message with a line break"),
    pytest.param(frame(OURS, "Program return: " + OURS + " " + LINE.split()[-1]), id="a return value"),
    pytest.param(frame(OURS, " " + LINE), id="an indented line"),
    pytest.param(frame(OURS, LINE.lower()), id="lower case"),
    pytest.param([LINE, *frame(OURS)], id="data before any program runs"),
    pytest.param([*frame(OURS), LINE], id="data after every program has returned"),
    pytest.param(frame(STRANGER, f"Program log: Program {OURS} invoke [2]", LINE), id="a forged start"),
    pytest.param(frame(STRANGER, f"Program log: a\nProgram {OURS} invoke [2]", LINE), id="forged on 2 lines"),
])  # fmt: skip
def test_only_data_that_our_program_itself_logs_is_an_event(logs: list[str]) -> None:
    transaction = parsed(logs)
    assert transaction.events == ()
    assert transaction.quarantined == ()
    assert not transaction.logs_truncated


@pytest.mark.parametrize("logs", [
    pytest.param([f"Program {OURS} invoke [2]", LINE, f"Program {OURS} success"], id="starts too deep"),
    pytest.param(frame(STRANGER, [f"Program {OURS} invoke [1]", LINE]), id="starts too shallow"),
    pytest.param([f"Program {OURS} success", *frame(OURS, LINE)], id="returns before it starts"),
    pytest.param(frame(STRANGER, f"Program {OURS} success", frame(OURS, LINE)), id="another one returns"),
    pytest.param(
        [f"Program {STRANGER} invoke [1]", f"Program {STRANGER} failed: x", *frame(OURS, LINE)], id="failed"
    ),
    pytest.param(["Log truncated", *frame(OURS, LINE)], id="truncated"),
    pytest.param([f"Program {OURS} invoke [x]", LINE], id="no depth"),
])  # fmt: skip
def test_nothing_is_believed_after_lines_that_contradict_the_stack(logs: list[str]) -> None:
    transaction = parsed(logs)
    assert transaction.events == ()
    assert transaction.logs_truncated


def test_more_runs_in_the_logs_than_instructions_discredit_all_of_them() -> None:
    logs = [*frame(OURS, LINE), *frame(OURS, LINE)]
    transaction = parsed(logs, runs=1)
    assert transaction.events == ()
    assert transaction.logs_truncated


def test_logs_that_leave_out_a_run_are_incomplete() -> None:
    transaction = parsed(frame(OURS, LINE), runs=2)
    assert transaction.events == (EventRecord(0, BOUGHT),)
    assert transaction.logs_truncated


def test_a_transaction_without_our_program_among_its_keys_has_no_events() -> None:
    element = raw(frame(OURS, LINE))
    element["transaction"]["message"]["accountKeys"][2] = STRANGER
    transaction = parse_transaction(element, IDL.program_id, CODEC)
    assert transaction.events == ()
    assert not transaction.logs_truncated


def test_a_failed_transaction_has_an_explanation_and_no_events() -> None:
    logs = [*frame(OURS, LINE)[:-1], f"Program {OURS} failed: custom program error: 0x177f"]
    transaction = parsed(logs, err={"InstructionError": [2, {"Custom": 6015}]})
    assert not transaction.succeeded
    assert transaction.events == ()
    assert transaction.error is not None
    assert (transaction.error.code, transaction.error.name) == (6015, "SlippageExceeded")
    assert transaction.error.instruction_index == 2


def test_what_was_logged_before_a_truncation_keeps_its_ordinal() -> None:
    logs = [*frame(OURS, LINE), f"Program {OURS} invoke [1]", "Log truncated", LINE]
    transaction = parsed(logs)
    assert transaction.events == (EventRecord(0, BOUGHT),)
    assert transaction.logs_truncated


def test_a_message_that_says_truncated_truncates_nothing() -> None:
    transaction = parsed(frame(OURS, "Program log: Log truncated", LINE))
    assert transaction.events == (EventRecord(0, BOUGHT),)
    assert not transaction.logs_truncated


def test_a_message_that_says_success_ends_nothing() -> None:
    logs = frame(OURS, f"Program log: Program {OURS} success", "Program log: success", LINE)
    assert parsed(logs).events == (EventRecord(0, BOUGHT),)
    assert not parsed(logs).logs_truncated


def test_missing_logs_are_truncated_logs() -> None:
    assert parsed(None, runs=1).logs_truncated


def test_more_log_lines_than_the_bound_are_truncated_logs() -> None:
    logs = frame(OURS, *["Program log: x"] * MAX_LOG_LINES, LINE)
    assert parsed(logs).logs_truncated


@pytest.mark.parametrize(("line", "data", "reason"), [
    (data_line(b"12345678rest"), b"12345678rest", "no event of the IDL has the discriminator 3132"),
    (data_line(b"short"), b"short", "5 bytes are too few for an event"),
    (data_line(CODEC.encode_event(BOUGHT) + b"\0"), CODEC.encode_event(BOUGHT) + b"\0", "1 bytes too many"),
    (data_line(CODEC.encode_event(BOUGHT)[:-1]), CODEC.encode_event(BOUGHT)[:-1], "too few"),
    ("Program data: !!!!", b"!!!!", "this is not base64"),
    ("Program data: é", "é".encode(), "this is not base64"),
    ("Program data: \ud800", b"?", "this is not base64"),
    ("Program data: AAAA AAAA", b"AAAA AAAA", "2 fields instead of one"),
    ("Program data: ", b"", "0 bytes are too few"),
    ("Program data:", b"", "0 bytes are too few"),
    (LINE + "=", LINE.split()[-1].encode() + b"=", "this is not base64"),
])  # fmt: skip
def test_our_own_data_that_cannot_be_decoded_is_kept_with_its_ordinal(
    line: str, data: bytes, reason: str
) -> None:
    transaction = parsed(frame(OURS, LINE, line, LINE))
    (kept,) = transaction.quarantined
    assert (kept.ordinal, kept.data) == (1, data)
    assert reason in kept.reason
    assert transaction.events == (EventRecord(0, BOUGHT), EventRecord(2, BOUGHT))


CID = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
CREATE_MARKET = bytes.fromhex("67e261ebc8bcfbfe")


def creation_instruction(cid: bytes = CID.encode()) -> dict[str, Any]:
    data = CREATE_MARKET + b"i" * 32 + (5).to_bytes(8, "little") + (6).to_bytes(8, "little") + cid
    return {"programIdIndex": 2, "accounts": [0, 1, 3], "data": ids.base58_encode(data)}


CREATION = MarketCreation(b"i" * 32, Pubkey([2] * 32), Pubkey([1] * 32), 5, 6, CID)


def test_a_creation_s_arguments_are_read_from_the_instruction() -> None:
    assert parsed(frame(OURS), instructions=[creation_instruction()]).creations == (CREATION,)


def test_a_creation_by_another_program_s_call_is_read_as_well() -> None:
    outer = [{"programIdIndex": 4, "accounts": [], "data": ""}]
    transaction = parsed(
        frame(STRANGER, frame(OURS, depth=2)), instructions=outer, inner=[creation_instruction()]
    )
    assert transaction.creations == (CREATION,)


def test_a_failed_creation_creates_nothing() -> None:
    assert parsed([], err="AccountInUse", instructions=[creation_instruction()]).creations == ()


def test_another_program_s_creation_is_none() -> None:
    instruction = creation_instruction() | {"programIdIndex": 4}
    assert parsed(frame(STRANGER), instructions=[instruction]).creations == ()


@pytest.mark.parametrize("cid", [b"\0" * 46, b"\xff" * 46, b"Qm\n" + b"a" * 43])
def test_a_hash_that_is_not_printable_is_left_empty(cid: bytes) -> None:
    (creation,) = parsed(frame(OURS), instructions=[creation_instruction(cid)]).creations
    assert creation.ipfs_question_hash == ""


@pytest.mark.parametrize("change", [{"accounts": [0]}, {"accounts": [0, 200]}, {"data": "0" * 140}])
def test_a_creation_that_cannot_be_read_is_a_malformed_transaction(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedTransaction, match="create_market"):
        parsed(frame(OURS), instructions=[creation_instruction() | change])


u32 = st.integers(0, 2**32 - 1)


@given(u32, u32)
def test_the_counts_that_settled_a_dispute_are_read_from_the_instruction(agree: int, disagree: int) -> None:
    data = discriminator("global", "finalize_market") + struct.pack("<BIBI", 1, agree, 1, disagree)
    instruction = {"programIdIndex": 2, "accounts": [0, 1], "data": ids.base58_encode(data)}
    (count,) = parsed(frame(OURS), instructions=[instruction]).dispute_counts
    assert (count.agree, count.disagree) == (agree, disagree)


@given(st.binary(max_size=40))
def test_another_instruction_s_arguments_are_none_of_a_dispute(arguments: bytes) -> None:
    data = discriminator("global", "buy_shares") + arguments
    instruction = {"programIdIndex": 2, "accounts": [0, 1], "data": ids.base58_encode(data)}
    assert parsed(frame(OURS), instructions=[instruction]).dispute_counts == ()


def test_keys_may_be_objects_and_may_come_from_lookup_tables() -> None:
    element = raw(frame(OURS, LINE), instructions=[creation_instruction() | {"programIdIndex": 4}])
    keys = element["transaction"]["message"]["accountKeys"]
    element["transaction"]["message"]["accountKeys"] = [
        {"pubkey": key, "signer": i == 0, "writable": i < 2} for i, key in enumerate(keys[:2])
    ]
    element["meta"]["loadedAddresses"] = {"writable": [SYSTEM, STRANGER], "readonly": [OURS]}
    transaction = parse_transaction(element, IDL.program_id, CODEC)
    assert transaction.events == (EventRecord(0, BOUGHT),)
    assert transaction.creations == (CREATION,)


def test_instructions_may_name_programs_and_accounts_by_address() -> None:
    keys = raw([])["transaction"]["message"]["accountKeys"]
    by_address = {"programId": OURS, "accounts": keys[:2], "data": creation_instruction()["data"]}
    transaction = parsed(frame(OURS, LINE), instructions=[by_address])
    assert transaction.creations == (CREATION,)
    assert not transaction.logs_truncated


def test_a_transaction_of_version_1_is_read_like_any_other() -> None:
    """Its message has the limits that other versions put into instructions, its top instructions a height."""
    element = raw(LOG_OF_A_TRADE, version=1)
    message = element["transaction"]["message"]
    message["transactionConfig"] = {
        "computeUnitLimit": 30_000,
        "heapSize": None,
        "loadedAccountsDataSizeLimit": 200_000,
        "priorityFee": None,
    }
    message["instructions"] = [one | {"stackHeight": 1} for one in message["instructions"]]
    del element["meta"]["loadedAddresses"]
    for form in (element, encoded(element)):
        assert parse_transaction(form, IDL.program_id, CODEC) == parsed(LOG_OF_A_TRADE)


def encoded(element: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(element).encode())


def without(path: str) -> dict[str, Any]:
    return replaced(path, None, delete=True)


def replaced(path: str, value: object, *, delete: bool = False) -> dict[str, Any]:
    element: dict[str, Any] = raw(LOG_OF_A_TRADE)
    *parents, last = path.split(".")
    node: Any = element
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node[name]
    if delete:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return element


@pytest.mark.parametrize(("element", "field"), [
    (without("slot"), "slot"),
    (replaced("slot", "5"), "slot"),
    (replaced("slot", -1), "slot"),
    (replaced("slot", True), "slot"),
    (replaced("slot", 2**64), "slot"),
    (replaced("blockTime", "now"), "blockTime"),
    (without("meta"), "meta"),
    (replaced("meta", None), "meta"),
    (without("meta.err"), "err"),
    (replaced("meta.logMessages", "text"), "logMessages"),
    (replaced("meta.logMessages.2", None), "logMessages"),
    (replaced("meta.innerInstructions", {}), "innerInstructions"),
    (replaced("meta.loadedAddresses", []), "loadedAddresses"),
    (without("transaction"), "transaction"),
    (replaced("transaction", ["AQ==", "base64"]), "transaction"),
    (replaced("transaction.signatures", []), "signatures"),
    (replaced("transaction.signatures.0", "not a signature"), "signatures"),
    (replaced("transaction.signatures.0", "5" * 88 + "\n"), "signatures"),
    (replaced("transaction.signatures.0", "2" * 64), "64 bytes"),
    (replaced("indexWithinBlock", 2**31), "indexWithinBlock"),
    (replaced("version", 2), "version is 2: zmartd reads versions up to 1"),
    (replaced("version", 2**70), "version"),
    (replaced("version", [0]), "version"),
    (replaced("transaction.message.accountKeys", [SYSTEM] * 257), "accountKeys"),
    (replaced("transaction.message.accountKeys.0", 5), "accountKeys"),
    (replaced("transaction.message.instructions.0.programIdIndex", 256), "programIdIndex"),
    (replaced("transaction.message.instructions.0.data", 5), "data"),
    (replaced("transaction.message.instructions.0.data", "1" * 20_001), "data"),
    ({}, "slot"),
])  # fmt: skip
def test_json_of_another_shape_is_refused_by_field(element: dict[str, Any], field: str) -> None:
    for form in (element, encoded(element)):
        with pytest.raises(MalformedTransaction, match=field):
            parse_transaction(form, IDL.program_id, CODEC)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"[" * 100_000, b'{"slot": 1e999}', b'{"\xff": 1}'])
def test_text_that_is_no_transaction_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedTransaction):
        parse_transaction(msgspec.Raw(text), IDL.program_id, CODEC)


finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
PATHS = [
    "slot", "blockTime", "meta", "meta.err", "meta.logMessages", "meta.logMessages.3",
    "meta.innerInstructions", "meta.innerInstructions.0", "meta.loadedAddresses", "transaction",
    "transaction.signatures", "transaction.message", "transaction.message.accountKeys",
    "transaction.message.instructions", "transaction.message.instructions.0",
]  # fmt: skip


@given(st.sampled_from(PATHS), json_values)
def test_any_json_in_any_place_is_read_or_refused(path: str, value: Any) -> None:
    element = replaced(path, value)
    try:
        transaction = parse_transaction(element, IDL.program_id, CODEC)
    except MalformedTransaction:
        with pytest.raises(MalformedTransaction):
            parse_transaction(encoded(element), IDL.program_id, CODEC)
        return
    assert parse_transaction(encoded(element), IDL.program_id, CODEC) == transaction
    assert all(record.event == BOUGHT for record in transaction.events)


names = st.sampled_from([OURS, STRANGER, SYSTEM, "short", "x" * 44])
depths = st.integers(-1, 5)
odd_lines = st.one_of(
    st.text(max_size=40),
    st.builds("Program {} invoke [{}]".format, names, depths),
    st.builds("Program {} success".format, names),
    st.builds("Program {} failed: x".format, names),
    st.builds("Program log: {}".format, st.text(max_size=20)),
    st.builds("Program data: {}".format, st.text(max_size=20)),
    st.sampled_from([LINE, "Program log: " + LINE, "Log truncated", "Program ", "Program data:"]),
)


@given(st.lists(odd_lines, max_size=25))
@settings(max_examples=300)
def test_whatever_the_logs_are_reading_them_raises_nothing(logs: list[str]) -> None:
    reading = read_logs(logs, OURS)
    assert len(reading.data_lines) <= sum(line.startswith("Program data:") for line in logs)
    if f"Program {OURS} invoke [" not in "\n".join(logs):
        assert reading.data_lines == ()


calls: st.SearchStrategy[Any]
calls = st.deferred(lambda: st.tuples(st.sampled_from([OURS, STRANGER, SYSTEM]), st.lists(st.one_of(
    events.map(lambda event: ("data", event)),
    st.text(max_size=30).map(lambda text: ("log", text)),
    st.just(("log", LINE)),
    st.just(("log", f"\nProgram {OURS} invoke [1]\n{LINE}")),
    st.just(("log", f"Program {OURS} success")),
    calls.map(lambda call: ("call", call)),
), max_size=4)))  # fmt: skip


def run(call: Any, depth: int = 1) -> tuple[list[str], list[Any]]:
    """What the runtime logs for `call`, and the events that our program emitted in it, in order."""
    program, actions = call
    lines: list[str | list[str]] = []
    emitted: list[Any] = []
    for action, value in actions:
        if action == "data":
            lines.append(event_line(value))
            emitted += [value] if program == OURS else []
        elif action == "log":
            lines.append("Program log: " + value)
        else:
            inner, inner_emitted = run(value, depth + 1)
            lines.append(inner)
            emitted += inner_emitted
    return frame(program, *lines, depth=depth), emitted


@given(st.lists(calls, max_size=4))
@settings(max_examples=300)
def test_exactly_our_own_events_are_read_whoever_calls_whom_and_logs_what(program_calls: list[Any]) -> None:
    outcomes = [run(call) for call in program_calls]
    logs = [line for lines, _ in outcomes for line in lines]
    emitted = [event for _, events_of_call in outcomes for event in events_of_call]
    transaction = parsed(logs)
    assert [record.event for record in transaction.events] == emitted
    assert [record.ordinal for record in transaction.events] == list(range(len(emitted)))
    assert not transaction.logs_truncated


@given(st.lists(calls, min_size=1, max_size=3), st.data())
@settings(max_examples=200)
def test_logs_cut_anywhere_give_a_prefix_of_the_events_and_say_so(
    program_calls: list[Any], data: st.DataObject
) -> None:
    outcomes = [run(call) for call in program_calls]
    logs = [line for lines, _ in outcomes for line in lines]
    emitted = [event for _, events_of_call in outcomes for event in events_of_call]
    cut = data.draw(st.integers(0, len(logs) - 1))
    transaction = parsed([*logs[:cut], "Log truncated", *logs[cut + 1 :]], runs=runs_of(OURS, logs))
    read = [record.event for record in transaction.events]
    assert read == emitted[: len(read)]
    assert transaction.logs_truncated


def test_base64_of_the_line_is_the_event_s_bytes() -> None:
    assert base64.b64decode(LINE.split()[-1]) == CODEC.encode_event(BOUGHT)
