"""The handshake of a WebSocket: what the client asks for, and the answer (RFC 6455, section 4; RFC 7692)."""

from __future__ import annotations

import base64
import binascii
import hashlib

from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.http.errors.requests import InvalidHttp

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_KEY_BYTES = 16
_DEFLATE = "permessage-deflate"
_ANSWERED = "server_no_context_takeover; client_no_context_takeover"
_WINDOW = {"server_max_window_bits": {"15"}, "client_max_window_bits": {"", *map(str, range(8, 16))}}
_NO_VALUE = {"server_no_context_takeover", "client_no_context_takeover"}


class Handshake(Struct, frozen=True):
    """What was agreed."""

    accept: str
    """Proves that the key was read."""
    extensions: str | None
    """The answer about permessage-deflate; None without compression."""


class SwitchingProtocols(web.StreamResponse):
    """The answer 101. What follows on the connection is written past aiohttp."""

    def __init__(self, handshake: Handshake) -> None:
        headers = {
            hdrs.UPGRADE: "websocket",
            hdrs.CONNECTION: "upgrade",
            hdrs.SEC_WEBSOCKET_ACCEPT: handshake.accept,
        }
        if handshake.extensions is not None:
            headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = handshake.extensions
        super().__init__(status=101, headers=headers)
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing ends with the answer."""


def wants_upgrade(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"


def read_handshake(request: web.Request) -> Handshake:
    """What `request`, which wants an upgrade, can have. Raises InvalidHttp."""
    headers = request.headers
    connection = {token.strip().lower() for token in headers.get(hdrs.CONNECTION, "").split(",")}
    if request.method != hdrs.METH_GET or "upgrade" not in connection:
        raise InvalidHttp("A WebSocket begins with GET and the header `Connection: Upgrade`.")
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != _VERSION:
        raise InvalidHttp(f"The header Sec-WebSocket-Version must be {_VERSION}.")
    key = headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    if _decoded_size(key) != _KEY_BYTES:
        raise InvalidHttp(f"The header Sec-WebSocket-Key must be {_KEY_BYTES} bytes in base64.")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return Handshake(accept.decode(), deflate_answer(headers.getall(hdrs.SEC_WEBSOCKET_EXTENSIONS, [])))


def deflate_answer(offers: list[str]) -> str | None:
    """The answer to the first offer of permessage-deflate that can be met, if there is one.

    Messages are compressed each by itself, with the largest window: a message to many is compressed once.
    """
    for offer in ",".join(offers).split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == _DEFLATE and (parsed := _parameters(parameters)) is not None:
            window = "; server_max_window_bits=15" if "server_max_window_bits" in parsed else ""
            return f"{_DEFLATE}; {_ANSWERED}{window}"
    return None


def _parameters(parameters: list[str]) -> set[str] | None:
    """The names of an offer's parameters; None if one is unknown, repeated or cannot be met."""
    names = set[str]()
    for parameter in parameters:
        name, has_value, value = parameter.partition("=")
        name, value = name.strip(), value.strip().strip('"')
        allowed = _WINDOW.get(name)
        is_valid = name in _NO_VALUE and not has_value if allowed is None else value in allowed
        if name in names or not is_valid:
            return None
        names.add(name)
    return names


def _decoded_size(key: str) -> int:
    """How many bytes a key has; -1 if it is not base64."""
    try:
        return len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        return -1
