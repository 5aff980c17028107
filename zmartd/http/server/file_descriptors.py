"""The limit of the process on file descriptors, of which each connection takes one.

When none is left, uvloop closes every new connection without logging anything.
"""

from __future__ import annotations

import errno
import os
import resource

from zmartd.clock import Clock
from zmartd.log import get_logger

CHECK_SECONDS = 1.0
LOG_SECONDS = 10.0
"""The time between two log lines while there is none left."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE}

log = get_logger(__name__)


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one. Returns the limit that is then in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in {soft, resource.RLIM_INFINITY}:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # a sandbox may forbid it
        log.warning("http.descriptors_not_raised", descriptors=soft, reason=type(error).__name__)
        return soft
    return hard


async def watch(clock: Clock) -> None:
    """Log an error whenever no descriptor is left, until cancelled."""
    while True:
        if has_free():
            await clock.sleep(CHECK_SECONDS)
        else:
            log.error("daemon.no_descriptors", advice="lower server.max_connections or raise LimitNOFILE")
            await clock.sleep(LOG_SECONDS)


def has_free() -> bool:
    """Whether the process can open a file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in _EXHAUSTED
    return True
