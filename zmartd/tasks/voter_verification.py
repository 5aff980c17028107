"""Votes that decide about money, held against the chain before they are counted.

For a while the index can have what is not on the chain: an event in a slot that is not final, or one that
whoever holds the webhook's credential made up. A disputed market is not traded, so its accounts stay equal.
"""

from __future__ import annotations

from collections.abc import Sequence

from solders.pubkey import Pubkey

from zmartd.chain.accounts import UserPosition, VoteRecord
from zmartd.chain.answers import ChainAccount
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import decode_account
from zmartd.chain.rpc import Rpc
from zmartd.chain.wire import UndecodableData
from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import VoteKind
from zmartd.store.tallies import HolderWhoVoted


class IndexDiffers(ZmartdError):
    """The index has votes or positions that the chain has not: what is not final is taken back by itself."""

    code = "index_differs"


async def require_on_chain(
    rpc: Rpc, program: Program, market_id: str, holders: Sequence[HolderWhoVoted]
) -> None:
    """Raises IndexDiffers where a holder's position, or its vote on the chain, is not so there."""
    market = program.pdas.market(bytes.fromhex(market_id))
    wallets = [Pubkey.from_string(holder.wallet) for holder in holders]
    positions = await rpc.accounts([program.pdas.position(market, wallet) for wallet in wallets])
    on_chain = [holder for holder in holders if holder.on_chain]
    records = await rpc.accounts(
        [
            program.pdas.vote(market, Pubkey.from_string(holder.wallet), VoteKind.DISPUTE)
            for holder in on_chain
        ]
    )
    differing = {
        holder.wallet
        for holder, account in zip(holders, positions, strict=True)
        if not _is_position(holder, account, program.program_id)
    } | {
        holder.wallet
        for holder, account in zip(on_chain, records, strict=True)
        if not _is_vote(holder, account, program.program_id)
    }
    if differing:
        raise IndexDiffers(
            f"{len(differing)} of {len(holders)} voters have not on the chain what the index has of them, "
            f"{min(differing)} among them: counted again in the next run; if it stays so, "
            "`zmartd audit --repair`",
            market_id=market_id,
        )


def _is_position(holder: HolderWhoVoted, account: ChainAccount | None, program: Pubkey) -> bool:
    try:
        position = decode_account(UserPosition, account, program)
    except UndecodableData:
        return False
    return position is not None and (
        holder.shares_yes,
        holder.shares_no,
        holder.total_invested,
        holder.trades_count,
    ) == (position.shares_yes, position.shares_no, position.total_invested, position.trades_count)


def _is_vote(holder: HolderWhoVoted, account: ChainAccount | None, program: Pubkey) -> bool:
    try:
        record = decode_account(VoteRecord, account, program)
    except UndecodableData:
        return False
    return record is not None and record.vote is holder.vote
