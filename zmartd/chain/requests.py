"""The JSON-RPC requests for which solders has no type."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from solders.pubkey import Pubkey


class GetRecentPrioritizationFees:
    """What landed in recent blocks for transactions that write these accounts."""

    def __init__(self, addresses: Sequence[Pubkey]) -> None:
        self._addresses = [str(address) for address in addresses]

    def to_json(self) -> str:
        request = {
            "jsonrpc": "2.0",
            "id": 0,
            "method": "getRecentPrioritizationFees",
            "params": [self._addresses],
        }
        return msgspec.json.encode(request).decode()
