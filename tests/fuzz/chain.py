"""Coverage-guided fuzzing of what reads the chain: deliveries, transactions, logs and event payloads.

    python -m tests.fuzz.chain -max_total_time=60

Runs until libFuzzer's limits and exits with a status other than 0 on a finding, which it keeps in a file that
can be given as an argument to see it again. What must hold:

* nothing escapes but MalformedDelivery, MalformedTransaction and UndecodableData;
* what decodes is exactly what it encodes to;
* whatever other programs log, no event is believed that our program did not emit, and none of ours is lost.

It needs `atheris`, which is no dependency of the test suite.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["zmartd.chain", "zmartd.indexer.inbox"]):
    from tests.unit.chain.chain_logs import CODEC, IDL, OURS, STRANGER, SYSTEM, event_line, frame, raw
    from zmartd.chain.arguments import MalformedTransaction
    from zmartd.chain.events import SharesBought
    from zmartd.chain.transactions import parse_transaction
    from zmartd.chain.wire import UndecodableData
    from zmartd.indexer.deliveries import MalformedDelivery, transactions_of

from solders.pubkey import Pubkey

MAX_CALLS = 12
MAX_TEXT = 200
GENUINE, FORGED = Pubkey([1] * 32), Pubkey([2] * 32)


def test_one_input(given: bytes) -> None:
    data = atheris.FuzzedDataProvider(given)
    match data.ConsumeIntInRange(0, 3):
        case 0:
            read_delivery(data.ConsumeBytes(len(given)))
        case 1:
            decode_payload(data.ConsumeBytes(len(given)))
        case 2:
            read_any_logs(data)
        case _:
            read_honest_runtime(data)


def read_delivery(body: bytes) -> None:
    with suppress(MalformedDelivery, MalformedTransaction):
        for transaction in transactions_of(body):
            parse_transaction(transaction, IDL.program_id, CODEC)


def decode_payload(payload: bytes) -> None:
    with suppress(UndecodableData):
        event = CODEC.decode_event(payload)
        assert CODEC.encode_event(event) == payload


def read_any_logs(data: atheris.FuzzedDataProvider) -> None:
    """Lines as no runtime writes them, some of them nearly right."""
    lines = [
        data.PickValueInList(
            [
                f"Program {OURS} invoke [1]",
                f"Program {OURS} success",
                f"Program {STRANGER} invoke [2]",
                f"Program {STRANGER} success",
                f"Program {OURS} failed: custom program error: 0x1",
                "Log truncated",
                _line_of(FORGED),
                "Program " + _text(data),
                "Program data: " + _text(data),
                _text(data),
            ]
        )
        for _ in range(data.ConsumeIntInRange(0, 3 * MAX_CALLS))
    ]
    with suppress(MalformedTransaction):
        parse_transaction(raw(lines), IDL.program_id, CODEC)


def read_honest_runtime(data: atheris.FuzzedDataProvider) -> None:
    """Logs of a real call tree, in which every program but ours says what it likes."""
    emitted: list[SharesBought] = []
    lines = [line for _ in range(data.ConsumeIntInRange(1, 3)) for line in _call(data, 1, emitted)]
    transaction = parse_transaction(raw(lines), IDL.program_id, CODEC)
    believed = [record.event for record in transaction.events]
    assert believed == emitted, (believed, emitted, lines)
    assert not transaction.logs_truncated, lines


def _call(data: atheris.FuzzedDataProvider, depth: int, emitted: list[SharesBought]) -> list[str]:
    program = data.PickValueInList([OURS, STRANGER, SYSTEM])
    said: list[str | list[str]] = []
    for _ in range(data.ConsumeIntInRange(0, 4)):
        match data.ConsumeIntInRange(0, 3):
            case 0:
                said.append("Program log: " + _text(data))
            case 1 if program != OURS:
                said.append(_line_of(FORGED))
            case 1:
                emitted.append(_event(GENUINE))
                said.append(_line_of(GENUINE))
            case 2 if depth < 4:
                said.append(_call(data, depth + 1, emitted))
            case _:
                said.append("Program log: " + _line_of(FORGED))
    return frame(program, *said, depth=depth)


def _event(user: Pubkey) -> SharesBought:
    return SharesBought(b"m" * 32, user, True, 10, 20, 500_000_000, 1_760_000_000)


def _line_of(user: Pubkey) -> str:
    return event_line(_event(user))


def _text(data: atheris.FuzzedDataProvider) -> str:
    """Anything, or a line that only the runtime may write, behind a line break."""
    line = data.PickValueInList([f"Program {OURS} invoke [1]", f"Program {OURS} success", "Log truncated"])
    return data.ConsumeUnicode(MAX_TEXT) if data.ConsumeBool() else f"\n{line}"


def main() -> None:
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
