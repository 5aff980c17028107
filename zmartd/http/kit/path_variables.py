"""What the variables in the paths of operations stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Field, MarketRef, Signature, Wallet
from zmartd.store.markets import MarketNotFound


class PathVariable(Struct, frozen=True):
    """One meaning of a variable, wherever it stands in a path."""

    kind: type[Field]
    rule: str
    """What it must be: a sentence goes on with it after "must be"."""
    not_found: Callable[[], ZmartdError] | None = None
    """The refusal of a text that cannot name what is looked for; without it InvalidRequest names the rule."""

    def read(self, name: str, text: str) -> str:
        """The value that `text` stands for. Raises InvalidRequest, or what `not_found` makes."""
        try:
            return str(self.kind.parse(text))
        except ValueError as error:
            refusal = self.not_found
            raise (
                InvalidRequest(Problem(name, f"must be {self.rule}")) if refusal is None else refusal()
            ) from error


def _no_market() -> ZmartdError:
    return MarketNotFound(
        "A market is named by its id, 64 hexadecimal digits, or by its address on the chain."
    )


MARKET = PathVariable(MarketRef, "a market's id or address", _no_market)

PATH_VARIABLES: Final[Mapping[str, PathVariable]] = {
    "id": MARKET,
    "wallet": PathVariable(Wallet, "a wallet's address, base58 of 32 bytes"),
    "signature": PathVariable(Signature, "a transaction's signature, base58 of 64 bytes"),
}
"""Those that mean the same in every path but where an operation says otherwise."""

_NAME = re.compile(r"\{([^}:]+)(?::[^}]*)?\}")


def variables_of(path: str, special: Mapping[str, PathVariable]) -> dict[str, PathVariable]:
    """The variables in `path` by name, as `special` says or as they mean elsewhere. Raises KeyError."""
    return {name: special.get(name) or PATH_VARIABLES[name] for name in _NAME.findall(path)}


def path_template(path: str) -> str:
    """aiohttp's path as OpenAPI writes it."""
    return _NAME.sub(r"{\1}", path)
