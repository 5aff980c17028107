"""The facts that the audit compares, and the comparison of the index's with those of the accounts.

Both sides come as the same types and are compared field by field, without input or output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from zmartd.indexer.effects.facts import ConfigurationFacts, MarketFacts, PositionFacts, Value

PositionKey = tuple[str, str]
"""The market's address and the wallet."""


class ProgramFacts(Struct, frozen=True):
    """All that is compared: markets by address, positions by market address and wallet."""

    markets: Mapping[str, MarketFacts]
    positions: Mapping[PositionKey, PositionFacts]
    configuration: ConfigurationFacts


class Difference(Struct, frozen=True):
    """One value that differs.

    `market` is the market's address, None for the program's configuration; `wallet` is set for positions.
    `field` is `exists` where only one side has the market or the position.
    """

    market: str | None
    wallet: str | None
    field: str
    indexed: Value
    on_chain: Value


def compare(indexed: ProgramFacts, on_chain: ProgramFacts) -> tuple[Difference, ...]:
    """All differences, in the order of markets, wallets and fields."""
    return (
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
