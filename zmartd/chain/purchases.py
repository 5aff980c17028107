"""How many shares a transaction buys, by the node's simulation of it."""

from __future__ import annotations

from zmartd.chain.answers import SimulationResult
from zmartd.chain.codec import Codec
from zmartd.chain.events import SharesBought
from zmartd.chain.logs import read_logs
from zmartd.chain.rpc import Rpc
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.chain.transactions import decode_events


def shares_bought(simulated: SimulationResult, codec: Codec) -> int | None:
    """The share units that all purchases in a transaction bring together.

    None where the logs do not tell: the runtime has cut them off, or the node gives none.
    """
    reading = read_logs(simulated.logs or (), str(codec.idl.program_id))
    events, quarantined = decode_events(reading, codec)
    if not simulated.logs or not reading.complete or quarantined:
        return None
    return sum(record.event.shares for record in events if isinstance(record.event, SharesBought))


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
