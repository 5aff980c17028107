"""Whose plans Postgres keeps.

A statement is planned each time it runs, for its arguments and for the tables as they are: a plan from when a
table was empty took seconds for a batch, where a new one takes a tenth of one. Where a statement finds a few
rows by an index, whatever its arguments are, planning takes longer than the rest. Such a one is `kept`: it
is planned once on each connection, and again when its tables were analyzed.

What a statement with an array, or with a condition that an argument can switch off, costs depends on its
arguments; it is never kept. One that is must not become slow when a table grows that was small when it was
planned: what bounds its rows is the first column of an index.

Behind a transaction pooler every statement is planned each time: none outlives its transaction there.
"""

from __future__ import annotations

from typing import Final

_KEPT: Final = "/* kept plan */ "
SETTING: Final = "plan_cache_mode"
ONCE: Final = "force_generic_plan"
EACH_TIME: Final = "force_custom_plan"
AS_POSTGRES_CHOOSES: Final = "auto"
"""Values of the setting. The last is for all that callers do: Postgres plans a statement of theirs five times
for its arguments, and then keeps a plan that promises to be no worse.
"""


def kept(statement: str) -> str:
    """The statement, whose plan is to be kept: its text says so from now on, also in Postgres' log."""
    return _KEPT + statement


def is_kept(statement: str) -> bool:
    """Whether the plan of a statement is kept."""
    return statement.startswith(_KEPT)
