"""What a transaction pays the network: Agave computes it from the message alone."""

from __future__ import annotations

from collections.abc import Iterator

from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey

LAMPORTS_PER_SIGNATURE = 5_000
MAX_COMPUTE_UNITS = 1_400_000
_DEFAULT_UNITS, _DEFAULT_BUILTIN_UNITS = 200_000, 3_000
_MICRO = 1_000_000
_SET_LIMIT, _SET_PRICE = 2, 3
_LIMIT_BYTES, _PRICE_BYTES = 4, 8
_SIGNATURE_VERIFIERS = frozenset(
    Pubkey.from_string(program)
    for program in (
        "Ed25519SigVerify111111111111111111111111111",
        "KeccakSecp256k11111111111111111111111111111",
        "Secp256r1SigVerify1111111111111111111111111",
    )
)
_BUILTINS = frozenset(
    Pubkey.from_string(program)
    for program in (
        "11111111111111111111111111111111",
        "AddressLookupTab1e1111111111111111111111111",
        "BPFLoader1111111111111111111111111111111111",
        "BPFLoader2111111111111111111111111111111111",
        "BPFLoaderUpgradeab1e11111111111111111111111",
        "ComputeBudget111111111111111111111111111111",
        "Ed25519SigVerify111111111111111111111111111",
        "KeccakSecp256k11111111111111111111111111111",
        "Vote111111111111111111111111111111111111111",
    )
)


def fee_lamports(message: Message | MessageV0) -> int:
    """The base fee and the priority fee."""
    return signature_lamports(message) + priority_lamports(message)


def signature_lamports(message: Message | MessageV0) -> int:
    """The base fee: for the transaction's signatures, and for those that a built-in program verifies."""
    signatures = message.header.num_required_signatures
    for program, data in _instructions(message):
        if program in _SIGNATURE_VERIFIERS and data:
            signatures += data[0]
    return signatures * LAMPORTS_PER_SIGNATURE


def priority_lamports(message: Message | MessageV0) -> int:
    """The priority fee: the price per compute unit times the requested units (not those used), rounded up."""
    return lamports_for(*compute_request(message))


def lamports_for(units: int, price_micro_lamports: int) -> int:
    """What so many compute units cost at that price, rounded up."""
    return -(-price_micro_lamports * units // _MICRO)


def highest_price(lamports: int, units: int) -> int:
    """The highest price, in micro-lamports per unit, at which so many units cost at most so many lamports."""
    return lamports * _MICRO // units


def compute_request(message: Message | MessageV0) -> tuple[int, int]:
    """The compute units that a transaction requests, and its price in micro-lamports per unit.

    Without a limit a transaction requests 200,000 units per instruction, 3,000 for a built-in program
    (SIMD-0170), and at most 1,400,000.
    """
    price_micro_lamports, limit, default_limit = 0, None, 0
    for program, data in _instructions(message):
        default_limit += _DEFAULT_BUILTIN_UNITS if program in _BUILTINS else _DEFAULT_UNITS
        if program != COMPUTE_BUDGET:
            continue
        if data[:1] == bytes([_SET_LIMIT]) and len(data) >= 1 + _LIMIT_BYTES:
            limit = int.from_bytes(data[1 : 1 + _LIMIT_BYTES], "little")
        if data[:1] == bytes([_SET_PRICE]) and len(data) >= 1 + _PRICE_BYTES:
            price_micro_lamports = int.from_bytes(data[1 : 1 + _PRICE_BYTES], "little")
    units = min(default_limit if limit is None else limit, MAX_COMPUTE_UNITS)
    return units, price_micro_lamports


def _instructions(message: Message | MessageV0) -> Iterator[tuple[Pubkey | None, bytes]]:
    """Each instruction's program (None when its index is invalid) and data."""
    keys = message.account_keys
    for instruction in message.instructions:
        index = instruction.program_id_index
        yield keys[index] if index < len(keys) else None, bytes(instruction.data)
