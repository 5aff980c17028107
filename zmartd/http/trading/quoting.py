"""What estimates and quotes of trades have in common: their orders, and the program's refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from zmartd.chain.failures import ProgramRefused, failure_named
from zmartd.chain.idl import Idl
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.market.errors import MarketMathError
from zmartd.market.orders import Purchase


def require_consistent(order: Purchase) -> None:
    """Raises InvalidRequest where parts of an order contradict each other; names each."""
    problems = []
    if (order.target_cost is None) == (order.shares is None):
        problems.append(Problem("target_cost", "or shares is required, one of the two and not both"))
    elif order.max_cost is not None and order.target_cost is not None:
        problems.append(
            Problem("max_cost", "goes with shares, not with target_cost, which is the most that is paid")
        )
    elif order.shares is not None and (order.min_shares or 0) > order.shares:
        problems.append(Problem("min_shares", "must not be above shares, the number that is asked for"))
    if problems:
        raise InvalidRequest(*problems)


@contextmanager
def refusing_as_the_program(idl: Idl) -> Iterator[None]:
    """Raises ProgramRefused with the error that the program would give where the block raises
    MarketMathError.
    """
    try:
        yield
    except MarketMathError as error:
        failure = failure_named(error.code, idl)
        if error.explanation is not None:
            failure = msgspec.structs.replace(failure, message=error.explanation)
        raise ProgramRefused(failure, terms=error.details) from error
