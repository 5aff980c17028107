"""Where a market is in its life, and the rules by which it lives.

Times are unix seconds of the chain's clock, shares basis points.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.market.votes import NO_VOTES, VotesSoFar

INITIAL_PROPOSAL_THRESHOLD_BPS = 7_000
INITIAL_DISPUTE_THRESHOLD_BPS = 6_000
INITIAL_DISPUTE_PERIOD_SECONDS = 259_200
"""What initialize_global_config sets."""


class ProgramRules(Struct, frozen=True, kw_only=True):
    """What the program's configuration says about the life of markets."""

    proposal_threshold_bps: int = INITIAL_PROPOSAL_THRESHOLD_BPS
    dispute_threshold_bps: int = INITIAL_DISPUTE_THRESHOLD_BPS
    dispute_period_seconds: int = INITIAL_DISPUTE_PERIOD_SECONDS
    is_paused: bool = False
    """Whether the program refuses all trades and new markets."""


class BackendRules(Struct, frozen=True, kw_only=True):
    """What the daemon's settings add to that."""

    min_proposal_votes: int
    proposal_min_balance_lamports: int
    dispute_quorum_bps: int
    finalization_delay_seconds: int
    safety_margin_seconds: int
    veto_seconds: int
    trusted_resolvers: tuple[str, ...]


class Rules(Struct, frozen=True):
    """All rules by which markets live."""

    program: ProgramRules
    backend: BackendRules


class Situation(Struct, frozen=True, kw_only=True):
    """Where a market is in its life. Its times are None where it has not come so far."""

    state: MarketState
    is_on_chain: bool = True
    """False for a pending market."""
    creator: str | None
    resolver: str | None = None
    end: int | None = None
    """The expected end that the creator announced."""
    activated_at: int | None = None
    resolution_proposed_at: int | None = None
    dispute_initiated_at: int | None = None
    awaiting_admin_approval: bool = False
    """Whether a proposal's votes are on the chain and only the admin can approve it."""
    awaiting_decision: bool = False
    settles_at: int | None = None
    """When an announced settlement is carried out."""
    decision: Decision | None = None
    """The admin's decision about the market in its present state."""
    votes: VotesSoFar = NO_VOTES
    """The votes of the kind that is open in its state."""
    is_refunded: bool = False
    """Whether it ended without an outcome."""
    has_claims: bool = True
    """Whether, once it is finalized, some holder can still claim."""
    is_withdrawn: bool = False
    """Whether its creator has withdrawn the liquidity."""
    now: int
    """The newest time of the chain that is known. A market's own times are never after it."""

    @property
    def time(self) -> int:
        """The present: `now`, or what has happened to the market since."""
        own = (self.activated_at, self.resolution_proposed_at, self.dispute_initiated_at)
        return max([self.now, *(time for time in own if time is not None)])
