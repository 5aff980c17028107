"""Where the program keeps things: addresses derived from seeds."""

from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.market import ids
from zmartd.market.lifecycle import VoteKind


class Pdas:
    """The program-derived addresses of one deployment of the program."""

    def __init__(self, program_id: Pubkey) -> None:
        self._program_id = program_id

    def global_config(self) -> Pubkey:
        return self._find(b"global-config")

    def market(self, market_id: bytes) -> Pubkey:
        """`market_id` is what the hexadecimal id spells. Raises ValueError unless it has 32 bytes."""
        if len(market_id) != ids.MARKET_ID_BYTES:
            raise ValueError(f"a market id must have {ids.MARKET_ID_BYTES} bytes, not {len(market_id)}")
        return self._find(b"market", market_id)

    def position(self, market: Pubkey, user: Pubkey) -> Pubkey:
        return self._find(b"position", bytes(market), bytes(user))

    def vote(self, market: Pubkey, user: Pubkey, kind: VoteKind) -> Pubkey:
        return self._find(b"vote", bytes(market), bytes(user), bytes([kind.seed]))

    def _find(self, *seeds: bytes) -> Pubkey:
        address, _bump = Pubkey.find_program_address(seeds, self._program_id)
        return address
