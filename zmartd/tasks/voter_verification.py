"""Verifies the voters of a dispute against the chain before their votes are counted.

For a while the index can contain what is not on the chain: an event of a slot that is not final, or one that
was forged with a stolen webhook credential. A disputed market is not traded, so its positions do not change
meanwhile.
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
from zmartd.store.voters import HolderWhoVoted


class IndexDiffers(ZmartdError):
    """The index has votes or positions that are not on the chain. The reconciler removes them."""

    code = "index_differs"


async def require_voters_on_chain(
    rpc: Rpc, program: Program, market_id: str, holders: Sequence[HolderWhoVoted]
) -> None:
    """Raises IndexDiffers unless all positions, and the votes cast on the chain, are the same there."""
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
            f"the index differs from the chain for {len(differing)} of {len(holders)} voters, among them "
            f"{min(differing)}: the next run counts again; if it stays so, run `zmartd audit --repair`"
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
