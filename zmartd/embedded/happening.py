"""What happens in a simulation, for those who watch it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Happening(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a simulated wallet, a task or the clock did."""

    what: str
    """A word: bought, sold, proposed, activated, resolved, disputed, claimed, withdrew, decided, travelled,
    waiting, or the state of a market that a task has changed."""
    who: str = ""
    market_id: str = ""
    question: str = ""
    detail: str = ""
    """For people."""
    signature: str = ""
    """Of the transaction, base58."""


Tell = Callable[[Happening], None]
"""Is called with each thing as it happens."""
