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
    PROTOCOL_ERROR = 1002, "the client broke the WebSocket protocol; the reason says how"
    INVALID_DATA = 1007, "a text of the client is not UTF-8, or not compressed as it says"
    POLICY_VIOLATION = 1008, "the client sent more than it may; the reason is the code of an error"
    MESSAGE_TOO_BIG = 1009, "a message of the client is longer than it may be"
    INTERNAL_ERROR = (
        1011,
        "something went wrong in the daemon, or a ping was not answered: connect again and resume",
    )
    TRY_AGAIN_LATER = 1013, "the client leaves too much unread, or for too long: connect again and resume"
