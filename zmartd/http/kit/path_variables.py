"""The variables in the paths of operations: their types and rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Field, MarketRef, Signature, Wallet
from zmartd.store.markets import MarketNotFound, MarketReference


class PathVariable(Struct, frozen=True):
    """The type and rule of a path variable."""

    kind: type[Field]
    rule: str
    """What it must be, worded to follow "must be"."""
    not_found: Callable[[], ZmartdError] | None = None
    """The error for invalid text; InvalidRequest with the rule if None."""

    def read(self, name: str, text: str) -> str:
        """The value of `text`. Raises InvalidRequest, or what `not_found` returns."""
        try:
            return str(self.kind.parse(text))
        except ValueError as error:
            if self.not_found is not None:
                raise self.not_found() from error
            raise InvalidRequest(Problem(name, f"must be {self.rule}")) from error


def _no_market() -> ZmartdError:
    return MarketNotFound(
        MarketReference(),
        "A market is named by its id, 64 hexadecimal digits, or by its address on the chain; "
        "GET /api/markets lists both. By its slug it is found at GET /api/markets/by-slug/{slug}.",
    )


MARKET = PathVariable(MarketRef, "a market's id, 64 hexadecimal digits, or address", _no_market)

PATH_VARIABLES: Final[Mapping[str, PathVariable]] = {
    "id": MARKET,
    "wallet": PathVariable(Wallet, "a wallet's address, base58 of 32 bytes"),
    "signature": PathVariable(Signature, "a transaction's signature, base58 of 64 bytes"),
}
"""The meaning of each name, unless an operation declares another one."""

_NAME = re.compile(r"\{([^}:]+)(?::[^}]*)?\}")


def variables_of(path: str, overrides: Mapping[str, PathVariable]) -> dict[str, PathVariable]:
    """The variables in `path` by name, from `overrides` or PATH_VARIABLES. Raises KeyError."""
    return {name: overrides.get(name) or PATH_VARIABLES[name] for name in _NAME.findall(path)}


def path_template(path: str) -> str:
    """A path of aiohttp in OpenAPI's notation, without patterns."""
    return _NAME.sub(r"{\1}", path)
