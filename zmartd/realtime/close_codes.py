"""The codes with which connections of WebSocket clients are closed."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """A close code of RFC 6455, with what a client does after it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> CloseCode:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    GOING_AWAY = 1001, "the daemon stops: connect again, to whichever daemon, and resume"
    POLICY_VIOLATION = 1008, "the client sent more than it may; the reason is the code of an error"
    INTERNAL_ERROR = 1011, "something went wrong in the daemon: connect again and resume"
    TRY_AGAIN_LATER = 1013, "the client leaves too much unread: connect again and resume"
