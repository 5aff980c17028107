"""What the program's instructions say that its events leave out."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import commonprefix

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.interface import CreateMarket, FinalizeMarket
from zmartd.chain.raw import RawInstruction
from zmartd.chain.wire import UndecodableData, layout_of
from zmartd.errors import ZmartdError
from zmartd.market import ids


class MarketCreation(Struct, frozen=True, gc=False):
    """The arguments of one create_market: what its event leaves out.

    `ipfs_question_hash` is empty when the 46 bytes are not printable ASCII.
    """

    market_id: bytes
    market: Pubkey
    creator: Pubkey
    b_parameter: int
    initial_liquidity: int
    ipfs_question_hash: str


class DisputeCount(Struct, frozen=True):
    """The votes with which one finalize_market settled a dispute."""

    market: Pubkey
    agree: int
    disagree: int


class Arguments(Struct, frozen=True):
    """What is to know of one transaction's instructions."""

    creations: tuple[MarketCreation, ...] = ()
    dispute_counts: tuple[DisputeCount, ...] = ()


NO_ARGUMENTS = Arguments()


class MalformedTransaction(ZmartdError):
    """This JSON is not a transaction as Solana's RPC or a raw Helius webhook gives it."""

    code = "malformed_transaction"


_CREATE_MARKET = discriminator("global", "create_market")
_CREATE_MARKET_LAYOUT = layout_of(CreateMarket)
_CREATE_MARKET_BYTES = 102
_FINALIZE_MARKET = discriminator("global", "finalize_market")
_FINALIZE_MARKET_LAYOUT = layout_of(FinalizeMarket)
_FINALIZE_MARKET_BYTES = range(DISCRIMINATOR_BYTES, 19)


def _beginnings(prefix: bytes, lengths: range) -> tuple[str, ...]:
    """With what base58 begins if it encodes `prefix` and whatever follows it, for each length in bytes."""
    least = [ids.base58_encode(prefix.ljust(length, b"\0")) for length in lengths]
    most = [ids.base58_encode(prefix.ljust(length, b"\xff")) for length in lengths]
    return tuple(
        commonprefix(bounds) if len(bounds[0]) == len(bounds[1]) else ""  # noqa: RUF071  # no paths
        for bounds in zip(least, most, strict=True)
    )


_FINALIZE_MARKET_BEGINNINGS = _beginnings(_FINALIZE_MARKET, _FINALIZE_MARKET_BYTES)


def read_arguments(own: tuple[RawInstruction, ...], keys: list[str]) -> Arguments:
    """The arguments of a successful transaction's instructions. Raises MalformedTransaction."""
    creations: list[MarketCreation] = []
    dispute_counts: list[DisputeCount] = []
    for instruction in own:
        # Trades need not be decoded to be passed over: base58 is never shorter than what it encodes, and of
        # numbers with as many digits those between two others begin with what these have in common.
        text = instruction.data
        if len(text) < _CREATE_MARKET_BYTES and not text.startswith(_FINALIZE_MARKET_BEGINNINGS):
            continue
        try:
            data = ids.base58_decode(text)
            if data.startswith(_CREATE_MARKET):
                creations.append(_creation(data, instruction, keys))
            elif data.startswith(_FINALIZE_MARKET):
                dispute_counts += _dispute_count(data, instruction, keys)
        except (ValueError, UndecodableData) as error:
            raise MalformedTransaction(
                f"create_market or finalize_market: the instruction cannot be read: {error}"
            ) from error
    return Arguments(tuple(creations), tuple(dispute_counts)) if creations or dispute_counts else NO_ARGUMENTS


def _creation(data: bytes, instruction: RawInstruction, keys: list[str]) -> MarketCreation:
    arguments, _ = _CREATE_MARKET_LAYOUT.unpack(data, DISCRIMINATOR_BYTES)
    creator, market = (Pubkey.from_string(key) for key in instruction.addresses(keys)[:2])
    return MarketCreation(
        arguments.market_id,
        market,
        creator,
        arguments.b_parameter,
        arguments.initial_liquidity,
        _printable(arguments.ipfs_question_hash),
    )


def _dispute_count(data: bytes, instruction: RawInstruction, keys: list[str]) -> Iterator[DisputeCount]:
    """Nothing where an undisputed market was finalized, without counts."""
    arguments, _ = _FINALIZE_MARKET_LAYOUT.unpack(data, DISCRIMINATOR_BYTES)
    if arguments.dispute_agree is None or arguments.dispute_disagree is None:
        return
    _, market = (Pubkey.from_string(key) for key in instruction.addresses(keys)[:2])
    yield DisputeCount(market, arguments.dispute_agree, arguments.dispute_disagree)


def _printable(raw: bytes) -> str:
    text = raw.decode("ascii", errors="replace")
    return text if text.isascii() and text.isprintable() else ""
