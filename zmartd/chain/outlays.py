"""What an instruction of the program takes from the wallet that signs it, at most.

The program holds itself to what the instruction's arguments say. Beside them a wallet pays what makes a new
account exempt from rent.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.interface import INTERFACE, BuyShares, CreateMarket
from zmartd.chain.wire import UndecodableData, layout_of

_LAMPORTS_PER_BYTE = 6_960
_OVERHEAD_BYTES = 128
"""What rent exemption costs: 3,480 lamports a byte and year for two years, and as many bytes more for every
account (solana_rent::Rent)."""

EMPTY_WALLET_LAMPORTS = _OVERHEAD_BYTES * _LAMPORTS_PER_BYTE
"""The least that a wallet holds which holds anything."""

_MADE = {
    discriminator("global", name): (INTERFACE[name].accounts.index(account), size)
    for name, account, size in (
        ("initialize_global_config", "global_config", 206),
        ("create_market", "market", 488),
        ("buy_shares", "position", 182),
        ("submit_proposal_vote", "vote_record", 83),
        ("submit_dispute_vote", "vote_record", 83),
    )
}
"""Place and size of the account that an instruction makes; a position with the first purchase only."""

_BUY, _CREATE_MARKET = discriminator("global", "buy_shares"), discriminator("global", "create_market")
_BUY_LAYOUT, _CREATE_MARKET_LAYOUT = layout_of(BuyShares), layout_of(CreateMarket)


class Outlay(Struct, frozen=True):
    """The most that an instruction takes, in lamports, beside the network's fee."""

    amount: int
    """By its arguments."""
    rent: int = 0
    """For the account at `makes`, unless it is there already."""
    makes: Pubkey | None = None

    @property
    def most(self) -> int:
        return self.amount + self.rent


NOTHING = Outlay(0)


def outlay(data: bytes, accounts: Sequence[Pubkey]) -> Outlay:
    """What the instruction with this data and these accounts takes.

    NOTHING for one that only gives, and for one that the program would not understand.
    """
    name = data[:DISCRIMINATOR_BYTES]
    if name not in _MADE:
        return NOTHING
    place, size = _MADE[name]
    if place >= len(accounts):
        return NOTHING
    amount = 0
    try:
        if name == _BUY:
            amount = _BUY_LAYOUT.unpack(data, DISCRIMINATOR_BYTES)[0].target_cost
        if name == _CREATE_MARKET:
            amount = _CREATE_MARKET_LAYOUT.unpack(data, DISCRIMINATOR_BYTES)[0].initial_liquidity
    except UndecodableData:
        return NOTHING
    return Outlay(amount, (_OVERHEAD_BYTES + size) * _LAMPORTS_PER_BYTE, accounts[place])
