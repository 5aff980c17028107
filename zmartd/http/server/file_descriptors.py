"""Whether the process can still open descriptors, of which each connection takes one.

When it cannot, uvloop closes every new connection without a word.
"""

from __future__ import annotations

import errno
import os

from zmartd.clock import Clock
from zmartd.log import get_logger

LOOK_SECONDS = 1.0
LOG_SECONDS = 10.0
"""How often it is logged, at most, that there are none left."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE}

log = get_logger(__name__)


async def watch(clock: Clock) -> None:
    """Say so in the log when there are none left, until cancelled."""
    while True:
        if descriptors_left():
            await clock.sleep(LOOK_SECONDS)
        else:
            log.error("daemon.no_descriptors", advice="lower server.max_connections or raise LimitNOFILE")
            await clock.sleep(LOG_SECONDS)


def descriptors_left() -> bool:
    """Whether the process can open a file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in _EXHAUSTED
    return True
