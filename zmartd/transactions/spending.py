"""What a relayed transaction takes from its wallet, by the node's simulation, held to what it may take."""

from __future__ import annotations

from zmartd.chain.answers import SimulationResult
from zmartd.transactions.admission import AdmittedTransaction, RefusalDetails, TransactionRefused


def check_spending(
    transaction: AdmittedTransaction, simulated: SimulationResult, max_fee_lamports: int
) -> None:
    """Raise TransactionRefused where it pays the network more than that, or other programs take something.

    Only where it calls other programs is what leaves the wallet compared with the most that our instructions
    take; the lamports that others give the wallet count against what they take. A program may do otherwise on
    the chain than in a simulation. Safety comes from the admission, which lets listed instructions through
    and no others; this is a second lock. Nodes before Agave 3.0 do not tell balances: by way of such a node,
    no instructions of other programs are relayed.
    """
    fee = transaction.fee_lamports
    if fee > max_fee_lamports:
        raise TransactionRefused(
            f"The network's fee would be {fee} lamports, and at most {max_fee_lamports} are passed on: set a "
            "lower compute unit price, or send this transaction to the network yourself.",
            RefusalDetails(fee_lamports=str(fee)),
        )
    if not transaction.calls_other_programs:
        return
    taken = simulated.taken_from_payer
    if taken is None:
        raise TransactionRefused(
            "This daemon's Solana node does not tell what a transaction takes from its wallet. Leave out "
            "the instructions of other programs, or send this transaction to the network yourself."
        )
    if taken > transaction.max_taken_lamports:
        raise TransactionRefused(
            f"The transaction would take {taken} lamports from {transaction.wallet} besides the network's "
            f"fee, and what it asks of the program takes at most {transaction.max_taken_lamports}. An "
            "instruction of another program takes the rest: do not send it, and sign a new one instead.",
            RefusalDetails(taken_lamports=str(taken), max_taken_lamports=str(transaction.max_taken_lamports)),
        )
