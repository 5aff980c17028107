"""What counted votes were held to, in the JSON of the API."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from zmartd.market.votes import CountingRule


class CountingRuleBody(Struct, frozen=True, kw_only=True):
    """What counted votes were held to, by the program's configuration and the daemon's settings then."""

    threshold_bps: int
    """The least share of the votes that had to be in favour, in basis points."""
    min_votes: int | None
    """The least number of votes on a proposed market; null for a dispute."""
    quorum_bps: int | None
    """The least share of the holders' stake that had to vote on a dispute, in basis points; null for a
    proposed market."""
    decided_by: Literal["votes", "admin"]
    """`admin` where an admin decided, whatever the votes say."""


def rule_body(rule: CountingRule | None) -> CountingRuleBody | None:
    """The JSON of what counted votes were held to."""
    return None if rule is None else CountingRuleBody(**msgspec.structs.asdict(rule))
