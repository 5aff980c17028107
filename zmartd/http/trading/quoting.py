"""What estimates and quotes of trades have in common: their amounts, and the program's refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zmartd.chain.failures import ProgramRefused, failure_named
from zmartd.chain.idl import Idl
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.market import quotes
from zmartd.market.errors import MarketMathError
from zmartd.market.quotes import BuyQuote, Pool


def require_one_amount(target_cost: int | None, shares: int | None) -> None:
    """Raises InvalidRequest where a purchase has neither a cost in lamports nor share units, or both."""
    if (target_cost is None) == (shares is None):
        raise InvalidRequest(Problem("target_cost", "or else shares has to be given, and not both"))


def quote_purchase(pool: Pool, outcome: bool, target_cost: int | None, shares: int | None) -> BuyQuote:
    """The quote for the amount that `require_one_amount` has found. Raises MarketMathError."""
    if target_cost is not None:
        return quotes.buy_for_cost(pool, outcome, target_cost)
    assert shares is not None, "checked by require_one_amount"
    return quotes.buy_for_shares(pool, outcome, shares)


@contextmanager
def refusing_as_the_program(idl: Idl) -> Iterator[None]:
    """Raises ProgramRefused with the error that the program would give where the block raises
    MarketMathError.
    """
    try:
        yield
    except MarketMathError as error:
        raise ProgramRefused(failure_named(error.code, idl)) from error
