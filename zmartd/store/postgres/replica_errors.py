"""Why something is read from the primary that may be read from a replica."""

from __future__ import annotations

from typing import ClassVar

from zmartd.errors import ZmartdError


class ReplicaUnusable(ZmartdError):
    """The replica cannot be read from now; the primary has what is asked for."""

    code = "replica_unusable"
    reason: ClassVar[str] = "away"
    """The word that the metric has for it."""


class ReplicaBehind(ReplicaUnusable):
    """The replica has not replayed yet what the reader has to see."""

    code = "replica_behind"
    reason = "behind"


class ReplicaSlow(ReplicaUnusable):
    """The replica did not answer in time."""

    code = "replica_slow"
    reason = "slow"


class ReplicaConflict(ReplicaUnusable):
    """The replica cancelled the read, because it had to replay what the read stood in the way of."""

    code = "replica_conflict"
    reason = "conflict"


class PositionUnknown(ReplicaUnusable):
    """It is not known what the replica must have replayed."""

    code = "position_unknown"
    reason = "unknown"
