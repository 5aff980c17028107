"""Accounts of the two token programs: the fields that they have in common, at the same places.

The layout is that of spl-token's `Mint` and `Account`; Token-2022 lets a byte for the kind of account and
extensions follow.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from solders.account import Account
from solders.pubkey import Pubkey

PROGRAMS = frozenset(
    Pubkey.from_string(program)
    for program in (
        "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
    )
)
_MINT_BYTES, _HOLDING_BYTES = 82, 165
_KIND_AT = 165
_KIND_MINT, _KIND_HOLDING = 1, 2
_SUPPLY, _DECIMALS_AT, _IS_INITIALIZED_AT = slice(36, 44), 44, 45
_MINT, _OWNER, _AMOUNT = slice(0, 32), slice(32, 64), slice(64, 72)
_HAS_DELEGATE, _DELEGATE, _STATE_AT = slice(72, 76), slice(76, 108), 108


class Mint(Struct, frozen=True):
    """A kind of token."""

    program: Pubkey
    supply: int
    decimals: int


class Holding(Struct, frozen=True):
    """A token account."""

    mint: Pubkey
    owner: Pubkey
    amount: int
    delegate: Pubkey | None


def read_mint(account: Account) -> Mint | None:
    """None when it is no mint."""
    data = account.data
    if not _is(account, _MINT_BYTES, _KIND_MINT) or not data[_IS_INITIALIZED_AT]:
        return None
    return Mint(account.owner, int.from_bytes(data[_SUPPLY], "little"), data[_DECIMALS_AT])


def read_holding(account: Account) -> Holding | None:
    """None when it is no token account."""
    data = account.data
    if not _is(account, _HOLDING_BYTES, _KIND_HOLDING) or not data[_STATE_AT]:
        return None
    return Holding(
        Pubkey(data[_MINT]),
        Pubkey(data[_OWNER]),
        int.from_bytes(data[_AMOUNT], "little"),
        Pubkey(data[_DELEGATE]) if any(data[_HAS_DELEGATE]) else None,
    )


def amount_json(amount: int, decimals: int) -> dict[str, Any]:
    """An amount of base units, and what it is in whole tokens."""
    digits = str(amount).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": amount / 10**decimals,
        "uiAmountString": f"{whole}.{fraction}" if fraction else whole,
    }


def _is(account: Account, size: int, kind: int) -> bool:
    data = account.data
    if account.owner not in PROGRAMS:
        return False
    return len(data) == size or (len(data) > _KIND_AT and data[_KIND_AT] == kind)
