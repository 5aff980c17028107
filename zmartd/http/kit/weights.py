"""What requests count towards rate limits, in tenths of a request.

Limits are in requests: one request is what an answer from the database costs.
"""

from __future__ import annotations

from typing import Final

FROM_MEMORY: Final = 1
"""An answer that is in memory: it costs some ten times less than one that needs the database."""
REQUEST: Final = 10
"""Any other request."""
EXPORT: Final = 50
"""An export. It has as many rows as five of the longest pages of the same list."""
