"""What a transaction had to offer to get into a block, as Agave's cache of prioritization fees has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from solders.pubkey import Pubkey

from zmartd.chain.network_fees import compute_request
from zmartd.embedded.localnet.chain import messages
from zmartd.embedded.localnet.chain.records import LandedTransaction


def lowest_prices(landed: Iterable[LandedTransaction], addresses: Sequence[Pubkey]) -> dict[int, int]:
    """By slot the lowest price of its transactions, in micro-lamports per compute unit.

    With `addresses`, for each of them the lowest of those that lock it for writing, and of these the highest,
    if that is more. A transaction that requests no units counts nowhere.
    """
    prices: dict[int, dict[Pubkey | None, int]] = {}
    for one in landed:
        units, price = compute_request(one.transaction.message)
        if units == 0:
            continue
        lowest = prices.setdefault(one.slot, {})
        for key in (None, *_wanted(one, addresses)):
            lowest[key] = min(lowest.get(key, price), price)
    return {slot: max(lowest.values()) for slot, lowest in prices.items()}


def _wanted(landed: LandedTransaction, addresses: Sequence[Pubkey]) -> list[Pubkey]:
    """Those of `addresses` that the transaction locks for writing."""
    if not addresses:
        return []
    own = landed.transaction.message.account_keys
    locked = {key for index, key in enumerate(own) if messages.is_writable(landed.transaction, index)}
    locked.update(landed.loaded.writable)
    return [address for address in addresses if address in locked]
