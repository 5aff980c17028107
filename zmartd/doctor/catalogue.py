"""All checks, in the order in which they are shown. Those that others need come before them."""

from __future__ import annotations

from zmartd.doctor import (
    clocks,
    configuration,
    connections,
    deliveries,
    machine,
    node,
    postgres,
    program,
    proxies,
    redis_server,
    replica,
    tables,
)

CHECKS = (
    *configuration.CHECKS,
    *machine.CHECKS,
    *postgres.CHECKS,
    *replica.CHECKS,
    *tables.CHECKS,
    *redis_server.CHECKS,
    *node.CHECKS,
    *program.CHECKS,
    *clocks.CHECKS,
    *deliveries.CHECKS,
    *proxies.CHECKS,
    *connections.CHECKS,
)
