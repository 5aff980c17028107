"""The most lamports that an instruction of the program takes from the wallet that signs it.

The program holds itself to what the instruction's arguments say. Beside them a wallet pays what makes the new
accounts exempt from rent.
"""

from __future__ import annotations

from msgspec import Struct

from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.wire import U64, Bytes32, Layout, UndecodableData

_LAMPORTS_PER_BYTE = 6_960
_OVERHEAD_BYTES = 128
"""What rent exemption costs: 3,480 lamports a byte and year for two years, and as many bytes more for every
account (solana_rent::Rent)."""

_NEW_ACCOUNT_BYTES = {
    discriminator("global", name): size
    for name, size in (
        ("initialize_global_config", 206),
        ("create_market", 488),
        ("buy_shares", 182),
        ("submit_proposal_vote", 83),
        ("submit_dispute_vote", 83),
    )
}
"""The size of the account that an instruction makes; `buy_shares`: a position, with the first purchase."""


class _Buy(Struct, frozen=True):
    outcome: bool
    target_cost: U64


class _CreateMarket(Struct, frozen=True):
    market_id: Bytes32
    b_parameter: U64
    initial_liquidity: U64


_BUY, _CREATE_MARKET = discriminator("global", "buy_shares"), discriminator("global", "create_market")
_BUY_LAYOUT, _CREATE_MARKET_LAYOUT = Layout(_Buy), Layout(_CreateMarket)


def most_lamports_taken(data: bytes) -> int:
    """The most that the instruction with this data takes, beside the network's fee.

    0 for one that only gives, and for one that the program would not understand.
    """
    name = data[:DISCRIMINATOR_BYTES]
    size = _NEW_ACCOUNT_BYTES.get(name)
    if size is None:
        return 0
    rent = (_OVERHEAD_BYTES + size) * _LAMPORTS_PER_BYTE
    try:
        if name == _BUY:
            return rent + _BUY_LAYOUT.unpack(data, DISCRIMINATOR_BYTES)[0].target_cost
        if name == _CREATE_MARKET:
            return rent + _CREATE_MARKET_LAYOUT.unpack(data, DISCRIMINATOR_BYTES)[0].initial_liquidity
    except UndecodableData:
        return 0
    return rent
