"""Identifiers as text: ids of markets, trades and votes, addresses and IPFS content ids."""

from __future__ import annotations

import hashlib
import re

import based58

MARKET_ID_BYTES = 32
CID_V0_LENGTH = 46

_MARKET_ID = re.compile(r"[0-9a-f]{64}")
_SHA2_256_MULTIHASH = b"\x12\x20"
_UNIXFS_FILE = b"\x08\x02"


def is_market_id(text: str) -> bool:
    """Whether `text` is a market id: 64 lower-case hexadecimal digits."""
    return _MARKET_ID.fullmatch(text) is not None


def trade_id(signature: str, event_index: int) -> str:
    """The id of a trade: its transaction's signature and the position of its event there, from 0."""
    return f"{signature}:{event_index}"


def vote_id(kind: str, signature: str, market_id: str, wallet: str) -> str:
    """The id of a vote on the chain: what it is made of cannot be read off it, unlike a trade's."""
    return hashlib.sha256(f"{kind}\n{signature}\n{market_id}\n{wallet}".encode()).hexdigest()


def is_address(text: str) -> bool:
    """Whether `text` is the base58 of 32 bytes: a wallet, a program or a program-derived address."""
    if not 32 <= len(text) <= 44:
        return False
    try:
        return len(base58_decode(text)) == 32
    except ValueError:
        return False


def is_cid_v0(text: str) -> bool:
    """Whether `text` is an IPFS content id of version 0, the only one that fits the program's 46 bytes."""
    if len(text) != CID_V0_LENGTH or not text.startswith("Qm"):
        return False
    try:
        raw = base58_decode(text)
    except ValueError:
        return False
    return len(raw) == 34 and raw.startswith(_SHA2_256_MULTIHASH)


def cid_v0(content: bytes) -> str:
    """The CIDv0 that `ipfs add` gives a file of these bytes.

    The file has to fit one block: a dag-pb node without links whose data is a UnixFS file message. Raises
    ValueError for more than 256 KiB.
    """
    if len(content) > 262_144:
        raise ValueError("content is larger than one IPFS block of 256 KiB")
    size = _varint(len(content))
    data = b"\x12" + size + content if content else b""
    unixfs = _UNIXFS_FILE + data + b"\x18" + size
    block = b"\x0a" + _varint(len(unixfs)) + unixfs
    return base58_encode(_SHA2_256_MULTIHASH + hashlib.sha256(block).digest())


def derive_market_id(creator: str, cid: str) -> str:
    """The id of a market whose creator chooses none. The same proposal always gets the same id.

    So a client that repeats its request after a time-out registers one market, not two.
    """
    return hashlib.sha256(f"zmart-market\n{creator}\n{cid}".encode()).hexdigest()


def masked(address: str) -> str:
    """The address as anonymous callers see it: first 4 + … + last 4 characters.

    The same address always looks the same, so that clients can group by it.
    """
    return f"{address[:4]}…{address[-4:]}"


def base58_encode(raw: bytes) -> str:
    """Base58 with Bitcoin's alphabet; each leading zero byte becomes a `1`."""
    return based58.b58encode(raw).decode()


def base58_decode(text: str) -> bytes:
    """The inverse of `base58_encode`. Raises ValueError for characters outside the alphabet."""
    return based58.b58decode(text.encode())


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
