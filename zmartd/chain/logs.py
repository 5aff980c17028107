"""Which log lines of a transaction are our program's own data, decided by the runtime's invoke stack.

The runtime writes `Program <id> invoke [depth]` when a program starts and `Program <id> success` when it
returns; what a program prints itself always carries a prefix (`Program log: `, `Program data: `), so a
program cannot write such a line. A data line belongs to the program on top of the stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

MAX_LOG_LINES = 20_000
MAX_DEPTH = 64
TRUNCATED = "Log truncated"

_PROGRAM = "Program "
_DATA = "Program data:"
_MESSAGE = "Program log: "
_HEAD_LENGTH = len(_DATA)
assert len(_MESSAGE) == _HEAD_LENGTH, "one slice tells both"
_INVOKE = tuple(f" invoke [{depth}]" for depth in range(1, MAX_DEPTH + 1))
_ADDRESS_LENGTHS = range(32, 45)
_LONGEST_START = len(_PROGRAM) + _ADDRESS_LENGTHS[-1] + len(_INVOKE[-1])
_ANY_STEP = re.compile(r"Program [1-9A-HJ-NP-Za-km-z]{32,44}+ (?:invoke \[|success$|failed)")


class LogReading(Struct, frozen=True, gc=False):
    """`data_lines`: what follows `Program data:` in our program's own frames, in order.

    `invocations` counts these frames. `complete` is False when lines are missing or contradict the stack:
    from there on nothing was believed, so data may be missing.
    """

    data_lines: tuple[str, ...]
    invocations: int
    complete: bool


def read_logs(logs: Sequence[str], program_id: str) -> LogReading:
    """Walk the log lines of a transaction that succeeded. Never raises, whatever they contain."""
    own = _return_line(program_id)
    data_lines: list[str] = []
    outer: list[str | None] = []
    returns: str | None = None
    """The line by which the running program will return, None where none runs; `outer`: its callers'."""
    invocations = 0
    for line in logs[:MAX_LOG_LINES]:
        if line == returns:
            returns = outer.pop()
        elif (head := line[:_HEAD_LENGTH]) == _MESSAGE:
            continue
        elif head == _DATA:
            if returns == own:
                data_lines.append(line[_HEAD_LENGTH:])
        elif line[-1:] == "]" and len(line) <= _LONGEST_START and (start := _start(line, len(outer))):
            outer.append(returns)
            returns = start.return_line
            invocations += start.program == program_id
        elif line == TRUNCATED or _ANY_STEP.match(line):
            return LogReading(tuple(data_lines), invocations, complete=False)
    complete = returns is None and len(logs) <= MAX_LOG_LINES
    return LogReading(tuple(data_lines), invocations, complete)


class _Start(Struct, frozen=True, gc=False):
    program: str
    return_line: str


@lru_cache(maxsize=1024)
def _start(line: str, depth: int) -> _Start | None:
    """What `line` says has started one level below `depth`. The same few programs start all the time."""
    if depth == MAX_DEPTH or not line.startswith(_PROGRAM) or not line.endswith(_INVOKE[depth]):
        return None
    name = line[len(_PROGRAM) : -len(_INVOKE[depth])]
    return _Start(name, _return_line(name)) if len(name) in _ADDRESS_LENGTHS and name.isalnum() else None


@lru_cache(maxsize=64)
def _return_line(name: str) -> str:
    return f"Program {name} success"
