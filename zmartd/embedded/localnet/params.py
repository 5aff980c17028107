"""The parameters of JSON-RPC methods, with their types and bounds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, Literal

import based58
import msgspec
from msgspec import Meta, Struct, field
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from zmartd.embedded.localnet.chain.commitment import Commitment, CommitmentName
from zmartd.embedded.localnet.errors import InvalidParams

U64 = Annotated[int, Meta(ge=0)]
"""The JSON decoder itself refuses integers above 2**64 - 1."""
Slot = Annotated[int, Meta(ge=0, le=2**43 - 1)]
"""No real slot comes near the limit, and the ledger's positions fit into 64 bits."""

AccountEncoding = Literal["binary", "base58", "base64", "base64+zstd", "jsonParsed"]
TransactionEncoding = Literal["json", "jsonParsed", "base58", "base64"]
WireEncoding = Literal["base58", "base64"]


class CommitmentConfig(Struct, frozen=True, rename="camel", kw_only=True):
    """The last parameter of almost every method."""

    commitment: CommitmentName = "finalized"
    min_context_slot: Slot | None = None

    @property
    def level(self) -> Commitment:
        return Commitment.of(self.commitment)


class DataSlice(Struct, frozen=True):
    """The requested part of an account's data."""

    offset: U64
    length: U64


class AccountConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    encoding: AccountEncoding = "binary"
    data_slice: DataSlice | None = None


class MultipleAccountsConfig(AccountConfig, frozen=True, rename="camel", kw_only=True):
    encoding: AccountEncoding = "base64"


class Memcmp(Struct, frozen=True):
    """The bytes that an account must have at an offset: a list, or base58 or base64 as `encoding` says."""

    offset: U64
    wanted: str | list[Annotated[int, Meta(ge=0, le=255)]] = field(name="bytes")
    encoding: WireEncoding | Literal["binary"] = "base58"


class ProgramAccountFilter(Struct, frozen=True, rename="camel"):
    """Either `{dataSize}` or `{memcmp}`."""

    data_size: U64 | None = None
    memcmp: Memcmp | None = None


class ProgramAccountsConfig(AccountConfig, frozen=True, rename="camel", kw_only=True):
    filters: Annotated[list[ProgramAccountFilter], Meta(max_length=4)] | None = None
    with_context: bool | None = None


class SendConfig(Struct, frozen=True, rename="camel", kw_only=True):
    encoding: WireEncoding = "base58"
    skip_preflight: bool = False
    preflight_commitment: CommitmentName = "finalized"
    max_retries: U64 | None = None
    """Accepted and ignored: no transaction is lost on the way to the only node."""
    min_context_slot: Slot | None = None


class SimulatedAccounts(Struct, frozen=True):
    addresses: Annotated[list[Pubkey], Meta(max_length=128)]
    encoding: AccountEncoding | None = None


class SimulateConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    encoding: WireEncoding = "base58"
    sig_verify: bool = False
    replace_recent_blockhash: bool = False
    inner_instructions: bool = False
    accounts: SimulatedAccounts | None = None


class StatusConfig(Struct, frozen=True, rename="camel"):
    search_transaction_history: bool = False


class TransactionConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    encoding: TransactionEncoding = "json"
    max_supported_transaction_version: Annotated[int, Meta(ge=0, le=255)] | None = None


class SignaturesConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    before: Signature | None = None
    until: Signature | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


def decode_hook(wanted: type, value: Any) -> Any:
    """Decode Solana's base58 types for msgspec. Raises ValueError with the broken rule."""
    if wanted in _BASE58 and isinstance(value, str):
        parse, rule = _BASE58[wanted]
        try:
            return parse(value)
        except ValueError:
            raise ValueError(f"Invalid param: {rule}") from None
    raise ValueError(f"Invalid param: {_BASE58[wanted][1] if wanted in _BASE58 else 'Invalid'}")


_BASE58: dict[type, tuple[Any, str]] = {
    Pubkey: (Pubkey.from_string, "expected a base58 address of 32 bytes"),
    Signature: (Signature.from_string, "expected a base58 signature of 64 bytes"),
    Hash: (Hash.from_string, "expected a base58 hash of 32 bytes"),
}


def convert(name: str, value: Any, wanted: Any) -> Any:
    """`value` as the type `wanted`; members that are null count as absent.

    Raises InvalidParams, which names the parameter and the rule.
    """
    try:
        return msgspec.convert(_without_nulls(value), wanted, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"Invalid params: {name}: {error}.") from None


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(member) for name, member in value.items() if member is not None}


def decode_bytes(name: str, text: str, encoding: WireEncoding, max_bytes: int) -> bytes:
    """Decode base58 or base64. Raises InvalidParams when the text is invalid or too long."""
    longest = max_bytes * 4 // 3 + 4 if encoding == "base64" else max_bytes * 138 // 100 + 2
    if len(text) > longest:
        raise InvalidParams(
            f"{encoding} encoded {name} too large: {len(text)} bytes (max: encoded/raw {longest}/{max_bytes})"
        )
    try:
        data = _DECODERS[encoding](text)
    except (binascii.Error, ValueError) as error:
        raise InvalidParams(f"invalid {encoding} encoding of {name}: {error}") from None
    if len(data) > max_bytes:
        raise InvalidParams(f"decoded {name} too large: {len(data)} bytes (max: {max_bytes} bytes)")
    return data


def _base58(text: str) -> bytes:
    return bytes(based58.b58decode(text.encode()))


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_DECODERS: dict[WireEncoding, Callable[[str], bytes]] = {"base58": _base58, "base64": _base64}
