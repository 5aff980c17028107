"""What a finalized market owes a holder, in lamports, as the program computes it."""

from __future__ import annotations


def claim(winning_shares: int, total_winning_shares: int, current_liquidity_lamports: int) -> int:
    """A winner's part of the pool: by shares, the seed shares that nobody owns counted in the total."""
    if winning_shares <= 0 or total_winning_shares <= 0:
        return 0
    return winning_shares * current_liquidity_lamports // total_winning_shares


def refund(
    invested_lamports: int, returned_lamports: int, refundable_lamports: int, current_liquidity_lamports: int
) -> int:
    """What a holder gets back of a market without outcome: what it paid in more than it took out.

    `refundable_lamports` is the sum of that over all holders; when the pool holds less, each gets its part.
    """
    owed = max(invested_lamports - returned_lamports, 0)
    if refundable_lamports <= current_liquidity_lamports:
        return owed
    return owed * current_liquidity_lamports // refundable_lamports
