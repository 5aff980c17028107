"""What /metrics says of this daemon as a whole: its version, its pools, and how late its streams are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zmartd import __version__
from zmartd.core import Core
from zmartd.dependencies import redis_pool_size
from zmartd.metrics import Measured
from zmartd.realtime.hub import Hub
from zmartd.store.postgres.pool import PoolSize

_BUILD: Final = Measured("zmartd_build_info", "1, with the version of zmartd.", ["version"])
_CONNECTIONS: Final = Measured(
    "zmartd_pool_connections",
    "Connections of a pool that are open: idle, or in use.",
    ["pool", "state"],
)
_MOST: Final = Measured("zmartd_pool_max_connections", "Connections that a pool may open.", ["pool"])
_WAITING: Final = Measured("zmartd_pool_waiting", "Those who wait for a connection of a pool.", ["pool"])
_REPLICA_LAG: Final = Measured(
    "zmartd_replica_lag_bytes",
    "How much of the primary's log the replica had not replayed at the last look; left out without one.",
)
_STREAMS: Final = Measured(
    "zmartd_stream_lag_seconds",
    "How old the last look at the database is of which the clients of streams have been told everything.",
)


def show(core: Core, hub: Hub) -> None:
    """Show those of the daemon with this core and hub from now on."""

    def pools() -> dict[str, PoolSize]:
        found = {"postgres": core.database.pool_size(), "redis": redis_pool_size(core.redis)}
        return found | ({"replica": core.replica.pool_size()} if core.replica.is_configured else {})

    def connections() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for name, now in pools().items():
            found[name, "idle"], found[name, "in_use"] = now.idle, now.in_use
        return found

    def stream_lag() -> Mapping[tuple[str, ...], float]:
        told = hub.told
        return {} if told is None else {(): core.clock.monotonic() - told.began_at}

    def replica_lag() -> Mapping[tuple[str, ...], float]:
        lag = core.replica.lag_bytes
        return {} if lag is None else {(): lag}

    _REPLICA_LAG.measure = replica_lag
    _BUILD.measure = lambda: {(__version__,): 1}
    _CONNECTIONS.measure = connections
    _MOST.measure = lambda: {(name,): size.most for name, size in pools().items()}
    _WAITING.measure = lambda: {(name,): size.waiting for name, size in pools().items()}
    _STREAMS.measure = stream_lag
