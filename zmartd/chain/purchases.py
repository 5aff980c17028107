"""What a transaction buys or pays, by the node's simulation of it."""

from __future__ import annotations

from zmartd.chain.answers import SimulationResult
from zmartd.chain.codec import Codec
from zmartd.chain.events import LiquidityWithdrawn, ProgramEvent, SharesBought, WinningsClaimed
from zmartd.chain.logs import read_logs
from zmartd.chain.rpc import Rpc
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.chain.transactions import decode_events

_PAYING = (LiquidityWithdrawn, WinningsClaimed)


def shares_bought(simulated: SimulationResult, codec: Codec) -> int | None:
    """The share units that all purchases in a transaction bring together.

    None where the logs do not tell: the runtime has cut them off, or the node gives none.
    """
    events = _events(simulated, codec)
    if events is None:
        return None
    return sum(event.shares for event in events if isinstance(event, SharesBought))


def paid_out(simulated: SimulationResult, codec: Codec) -> int | None:
    """The lamports that all claims and withdrawals in a transaction pay together. None as in `shares_bought`,
    and where there are none.
    """
    paying = [event for event in _events(simulated, codec) or () if isinstance(event, _PAYING)]
    return sum(event.amount for event in paying) if paying else None


def _events(simulated: SimulationResult, codec: Codec) -> list[ProgramEvent] | None:
    """None where the logs do not tell them all."""
    reading = read_logs(simulated.logs or (), str(codec.idl.program_id))
    events, quarantined = decode_events(reading, codec)
    if not simulated.logs or not reading.complete or quarantined:
        return None
    return [record.event for record in events]


async def brings_enough(rpc: Rpc, transaction: SignedTransaction, codec: Codec) -> bool:
    """Whether a transaction would bring its `min_shares` on the newest state.

    True for one without. False where the simulation fails: until the transaction is in a block the state can
    become one in which it succeeds, and brings fewer. Raises RpcUnavailable, RpcRejected.
    """
    if not transaction.min_shares:
        return True
    simulated = await rpc.preflight(transaction.wire)
    shares = None if simulated.err is not None else shares_bought(simulated, codec)
    return shares is not None and shares >= transaction.min_shares
