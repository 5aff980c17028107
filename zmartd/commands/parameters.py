"""How arguments are read: amounts of SOL, lengths of time, wallets. Each is a callback of click."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Final

import click

LAMPORTS_PER_SOL: Final = 10**9
MAX_SOL: Final = 1_000_000
MAX_SECONDS: Final = 10 * 366 * 86_400

_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?", re.ASCII)
_UNIT_SECONDS = (86_400, 3_600, 60, 1)


def lamports_of_sol(_: click.Context, __: click.Parameter, text: str) -> int:
    """The lamports of an amount of SOL like 10 or 0.5. Raises BadParameter."""
    lamports = int(Decimal(text) * LAMPORTS_PER_SOL) if _DECIMAL.fullmatch(text) else 0
    if not 0 < lamports <= MAX_SOL * LAMPORTS_PER_SOL:
        raise click.BadParameter(
            f"{text!r} is not an amount of SOL: write a number like 10 or 0.5, up to {MAX_SOL:,}, with at "
            "most nine decimals"
        )
    return lamports


def seconds_of_duration(_: click.Context, __: click.Parameter, text: str) -> int:
    """The seconds of a length of time like 72h, 2d, 90m, 30s or 1d12h. Raises BadParameter."""
    found = _DURATION.fullmatch(text)
    numbers = found.groups(default="0") if found else ()
    seconds = sum(int(number) * unit for number, unit in zip(numbers, _UNIT_SECONDS, strict=False))
    if not 0 < seconds <= MAX_SECONDS:
        raise click.BadParameter(
            f"{text!r} is not a length of time: write one like 72h, 2d, 90m, 30s or 1d12h, up to ten years"
        )
    return seconds


def reason_of(because: str, most: int) -> str:
    """A reason that people can read, of up to `most` characters. Raises UsageError."""
    from zmartd.text.readable import Unreadable, readable

    rule = f"--because has to be a text of 1 to {most} characters"
    try:
        reason = readable(because)
    except Unreadable as error:
        raise click.UsageError(f"{rule}: {error}") from error
    if not 1 <= len(reason.strip()) <= most:
        raise click.UsageError(rule)
    return reason


def wallet_address(_: click.Context, __: click.Parameter, text: str) -> str:
    """An address, or that of a keypair file. Raises BadParameter, UnusableKeypair."""
    from zmartd.market.ids import is_address

    if is_address(text):
        return text
    file = Path(text)
    if not file.exists() and ("/" in text or "." in text):  # base58 has neither
        raise click.BadParameter(f"there is no file {text!r}: `zmartd token FILE --new` makes a wallet")
    if not file.is_file():
        raise click.BadParameter(f"{text!r} is neither an address, 32 bytes in base58, nor a keypair file")
    from zmartd.dependencies import read_keypair

    return str(read_keypair(file).pubkey())
