"""Where the program keeps things: addresses derived from seeds."""

from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.market.lifecycle import VoteKind


class Pdas:
    """The program-derived addresses of one deployment of the program."""

    def __init__(self, program_id: Pubkey) -> None:
        self._program_id = program_id

    def global_config(self) -> Pubkey:
        return self._find(b"global-config")

    def market(self, market_id: bytes) -> Pubkey:
        """`market_id` are the 32 bytes behind the market's hexadecimal id."""
        return self._find(b"market", market_id)

    def position(self, market: Pubkey, user: Pubkey) -> Pubkey:
        return self._find(b"position", bytes(market), bytes(user))

    def vote(self, market: Pubkey, user: Pubkey, kind: VoteKind) -> Pubkey:
        return self._find(b"vote", bytes(market), bytes(user), bytes([kind.seed]))

    def _find(self, *seeds: bytes) -> Pubkey:
        address, _bump = Pubkey.find_program_address(seeds, self._program_id)
        return address
