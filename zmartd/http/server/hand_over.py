"""Whether a connection can be taken away from aiohttp after a request, so that another protocol has it.

That reaches into `aiohttp.web.RequestHandler`. With an aiohttp whose inside is not known, connections stay
where they are, and pass on what they receive: each then costs the memory of a request that never ends.
"""

from __future__ import annotations

from typing import Final

import aiohttp
from aiohttp import web

from zmartd.log import get_logger

KNOWN_VERSION: Final = "3.14."
NAMES: Final = frozenset(
    {"_manager", "_message_tail", "_payload_parser", "_parser", "_task_handler", "_upgraded", "transport"}
)
"""The attributes of a connection that taking it away depends on."""

log = get_logger(__name__)


def can_hand_over(version: str = aiohttp.__version__, handler: type = web.RequestHandler) -> bool:
    """Whether the inside of this aiohttp is known."""
    names = {name for base in handler.__mro__ for name in (*vars(base), *getattr(base, "__slots__", ()))}
    is_known = version.startswith(KNOWN_VERSION) and names >= NAMES
    if not is_known:
        log.warning("http.aiohttp_unknown", version=version, missing=sorted(NAMES - names))
    return is_known
