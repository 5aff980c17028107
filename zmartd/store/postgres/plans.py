"""Whose plans Postgres keeps.

A statement is planned each time it runs, for its arguments and for the tables as they are: a plan from when a
table was empty took seconds for a batch, where a new one takes a tenth of one. Where a statement finds a few
rows by an index, whatever its arguments are, planning takes longer than the rest. Such a one is `kept`: it
is planned once on each connection, and again when its tables were analyzed.

What a statement with a condition that an argument can switch off costs depends on its arguments; it is never
kept, and neither is one about a table that is empty as a rule and long at times. Statements about all rows of
a batch are planned for it, unless there are at most FEW: a transaction says when it begins whether all of its
statements keep their plans, and KEEP and ANEW say it of some of them: also of the checks of foreign keys,
which Postgres makes row by row.

A plan that is kept was perhaps made when a table was empty, and the table grows. So it is made anew after
MAX_SECONDS, and never reads a table from end to end where an index leads to the rows.

Behind a transaction pooler every statement is planned each time: none outlives its transaction there.
"""

from __future__ import annotations

from typing import Final

_KEPT: Final = "/* kept plan */ "
FEW: Final = 20
"""Transactions of a batch for which plans are kept."""
MAX_SECONDS: Final = 60.0
"""How long a connection keeps plans."""
KEEP: Final = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
"""What has the plans of the statements that follow in the transaction kept."""
ANEW: Final = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = on"
"""What has the statements that follow in the transaction planned each time."""
FORGET: Final = "DISCARD PLANS"
"""The statement that makes it plan anew what it runs next."""
_ONCE: Final = (("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"))
_EACH_TIME: Final = (("plan_cache_mode", "force_custom_plan"),)
_AS_POSTGRES_CHOOSES: Final = (("plan_cache_mode", "auto"),)
"""It plans a statement five times for its arguments, and then keeps a plan that promises to be no worse."""


def settings(*, keeps: bool, is_callers: bool) -> tuple[tuple[str, str], ...]:
    """The settings of Postgres with which a statement is planned, a caller's or the daemon's own."""
    if keeps:
        return _ONCE
    return _AS_POSTGRES_CHOOSES if is_callers else _EACH_TIME


def kept(statement: str) -> str:
    """The statement, whose plan is to be kept: its text says so from now on, also in Postgres' log."""
    return _KEPT + statement


def is_kept(statement: str) -> bool:
    """Whether the plan of a statement is kept."""
    return statement.startswith(_KEPT)
