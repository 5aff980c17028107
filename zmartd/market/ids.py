"""Identifiers as text: ids of markets, trades and votes, addresses and IPFS content ids."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import based58

MARKET_ID_BYTES = 32
CID_V0_LENGTH = 46

_MARKET_ID = re.compile(r"[0-9a-f]{64}")
_SHA2_256_MULTIHASH = b"\x12\x20"
_UNIXFS_FILE = b"\x08\x02"
_CID_V1_DAG_PB = b"\x01\x70"
_CID_V1 = re.compile(r"b[a-z2-7]{58}")
_LEAF_BYTES = 262_144
_LINKS_OF_A_NODE = 174
"""Of 45 bytes each, so that a node has 8 KiB at most."""


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
    """The CIDv0 that `ipfs add` gives a file of these bytes, also one of many blocks.

    That is UnixFS in dag-pb as go-ipfs, Kubo and Pinata make it for version 0: leaves of 256 KiB, none of
    them raw, in a balanced tree whose nodes have up to 174 links.
    """
    view = memoryview(content)
    starts = range(0, len(content), _LEAF_BYTES) if content else (0,)
    nodes = [_node(view[start : start + _LEAF_BYTES]) for start in starts]
    while len(nodes) > 1:
        nodes = [
            _node(b"", nodes[start : start + _LINKS_OF_A_NODE])
            for start in range(0, len(nodes), _LINKS_OF_A_NODE)
        ]
    return base58_encode(nodes[0].multihash)


def cid_v1(cid: str) -> str:
    """The CIDv1 in base32 of what `cid`, a CIDv0, names: the same block under its newer name."""
    return "b" + base64.b32encode(_CID_V1_DAG_PB + base58_decode(cid)).decode().lower().rstrip("=")


def as_cid_v0(text: str) -> str:
    """The CIDv0 of the block that `text` names, a CID of version 0 or of version 1 in base32.

    Raises ValueError for any other text, and for a CIDv1 of what has no CIDv0: a raw block, another hash.
    """
    if is_cid_v0(text):
        return text
    if _CID_V1.fullmatch(text):
        raw = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
        cid = base58_encode(raw.removeprefix(_CID_V1_DAG_PB))
        if raw.startswith(_CID_V1_DAG_PB) and is_cid_v0(cid) and cid_v1(cid) == text:
            return cid
    raise ValueError("not the content id of a dag-pb block with a SHA2-256 hash")


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


class _Node(NamedTuple):
    """A block of a file's tree."""

    multihash: bytes
    file_bytes: int
    """The bytes of the file that are in it and below it."""
    tree_bytes: int
    """The bytes of this block and of all below it."""


def _node(data: bytes | memoryview, children: Sequence[_Node] = ()) -> _Node:
    """A leaf of `data`, or the node above `children`.

    https://github.com/ipfs/specs/blob/main/UNIXFS.md and https://ipld.io/specs/codecs/dag-pb/spec/: links
    come before the data, and other fields in the order of their numbers.
    """
    file_bytes = len(data) + sum(child.file_bytes for child in children)
    content = b"\x12" + _varint(len(data)) + data if data else b""
    sizes = b"".join(b"\x20" + _varint(child.file_bytes) for child in children)
    unixfs = _UNIXFS_FILE + content + b"\x18" + _varint(file_bytes) + sizes
    links = b"".join(b"\x12" + _varint(len(link)) + link for link in map(_link, children))
    block = links + b"\x0a" + _varint(len(unixfs)) + unixfs
    multihash = _SHA2_256_MULTIHASH + hashlib.sha256(block).digest()
    return _Node(multihash, file_bytes, len(block) + sum(child.tree_bytes for child in children))


def _link(child: _Node) -> bytes:
    """A link without a name."""
    hashed = b"\x0a" + _varint(len(child.multihash)) + child.multihash
    return hashed + b"\x12\x00\x18" + _varint(child.tree_bytes)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
