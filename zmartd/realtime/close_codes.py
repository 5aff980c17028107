"""The codes with which connections of WebSocket clients are closed."""

from __future__ import annotations

import re
from enum import IntEnum

_RETRY = re.compile(r"retry: ([0-9]+)$")


class CloseCode(IntEnum):
    """A close code of RFC 6455, with what a client does after it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> CloseCode:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    PROTOCOL_ERROR = 1002, "the client broke the WebSocket protocol; the reason says how"
    INVALID_DATA = 1007, "a text of the client is not UTF-8, or not compressed as it says"
    POLICY_VIOLATION = 1008, "the client sent more than it may; the reason is the code of an error"
    MESSAGE_TOO_BIG = 1009, "a message of the client is longer than it may be"
    INTERNAL_ERROR = (
        1011,
        "something went wrong in the daemon, or a ping was not answered: connect again and resume",
    )
    SERVICE_RESTART = (
        1012,
        "the daemon ends or restarts: connect again, to whichever daemon, after the milliseconds at the end "
        "of the reason, and resume",
    )
    TRY_AGAIN_LATER = 1013, "the client leaves too much unread, or for too long: connect again and resume"


def restart_reason(milliseconds: int) -> str:
    """The reason of SERVICE_RESTART for a client that is to come back after so many milliseconds."""
    return f"the server is restarting; retry: {milliseconds}"


def retry_of(reason: str) -> int | None:
    """After how many milliseconds a client with this reason is to come back; None where it does not say."""
    found = _RETRY.search(reason)
    return int(found[1]) if found else None
