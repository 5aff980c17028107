"""The facts that the audit compares, and the comparison of the index's with those of the accounts.

Both sides come as the same types and are compared field by field, without input or output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from zmartd.indexer.effects.facts import ConfigurationFacts, MarketFacts, PositionFacts, Value

PositionKey = tuple[str, str]
"""The market's address and the wallet."""


UNREADABLE = "content"
"""The `field` of the difference that an account is whose data cannot be decoded."""


class UnreadableAccount(Struct, frozen=True):
    """An account whose data cannot be decoded, with what still can be told of it.

    `market` is its market's address, `wallet` that of a position or a vote.
    """

    kind: Literal["configuration", "market", "position", "vote"]
    address: str
    market: str | None
    wallet: str | None
    reason: str


class ProgramFacts(Struct, frozen=True):
    """All that is compared: markets by address, positions by market address and wallet."""

    markets: Mapping[str, MarketFacts]
    positions: Mapping[PositionKey, PositionFacts]
    configuration: ConfigurationFacts
    unreadable: Sequence[UnreadableAccount] = ()
    slot: int = 0
    """Of accounts: the oldest slot that the node was at."""

    @property
    def accounts(self) -> int:
        """How many accounts these are of, without the configuration's."""
        votes = sum(market.proposal_votes + market.dispute_votes for market in self.markets.values())
        return len(self.markets) + len(self.positions) + votes + len(self.unreadable)


class Difference(Struct, frozen=True):
    """One value that differs.

    `market` is the market's address, None for the program's configuration; `wallet` is set for positions.
    `field` is `exists` where only one side has the market or the position, and UNREADABLE where the chain's
    side cannot be told.
    """

    market: str | None
    wallet: str | None
    field: str
    indexed: Value
    on_chain: Value


_COUNTED = {"position": ("trades_count", "trades"), "vote": ("proposal_votes", "dispute_votes")}
"""The facts of a market that are counted over its accounts of a kind."""


def compare(indexed: ProgramFacts, on_chain: ProgramFacts) -> tuple[Difference, ...]:
    """All differences: unreadable accounts, then what differs in the order of markets, wallets and fields.

    What an unreadable account would tell is compared with nothing.
    """
    differences = (
        *_configuration(indexed.configuration, on_chain.configuration),
        *(
            difference
            for market in sorted(indexed.markets.keys() | on_chain.markets.keys())
            for difference in _facts(market, None, indexed.markets.get(market), on_chain.markets.get(market))
        ),
        *(
            difference
            for key in sorted(indexed.positions.keys() | on_chain.positions.keys())
            for difference in _facts(*key, indexed.positions.get(key), on_chain.positions.get(key))
        ),
    )
    return (
        *map(_unreadable, on_chain.unreadable),
        *(one for one in differences if not any(_would_tell(it, one) for it in on_chain.unreadable)),
    )


def _unreadable(account: UnreadableAccount) -> Difference:
    told = f"the account {account.address} cannot be decoded: {account.reason}"
    return Difference(account.market, account.wallet, UNREADABLE, None, told)


def _would_tell(account: UnreadableAccount, difference: Difference) -> bool:
    """Whether an unreadable account has, or counts for, the value that differs."""
    if account.market != difference.market:
        return False
    if difference.wallet is not None:
        return account.kind == "position" and account.wallet == difference.wallet
    return account.kind in ("configuration", "market") or difference.field in _COUNTED[account.kind]


def _configuration(indexed: ConfigurationFacts, on_chain: ConfigurationFacts) -> Iterator[Difference]:
    for name in ConfigurationFacts.__struct_fields__:
        ours, theirs = getattr(indexed, name), getattr(on_chain, name)
        if ours is not None and ours != theirs:
            yield Difference(None, None, name, ours, theirs)


def _facts(
    market: str,
    wallet: str | None,
    indexed: MarketFacts | PositionFacts | None,
    on_chain: MarketFacts | PositionFacts | None,
) -> Iterator[Difference]:
    if indexed is None or on_chain is None:
        yield Difference(market, wallet, "exists", indexed is not None, on_chain is not None)
        return
    for name in indexed.__struct_fields__:
        ours, theirs = getattr(indexed, name), getattr(on_chain, name)
        if ours != theirs:
            yield Difference(market, wallet, name, ours, theirs)
