"""Unsigned transactions for wallets to sign: built on a recent blockhash, and simulated first."""

from __future__ import annotations

import base64
from typing import Annotated

from msgspec import Meta, Struct
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.chain.assemble import MAX_COMPUTE_UNITS, build_transaction, compute_budget
from zmartd.chain.codec import Codec
from zmartd.chain.failures import ProgramRefused, explain_failure
from zmartd.chain.idl import Idl
from zmartd.chain.network_fees import LAMPORTS_PER_SIGNATURE
from zmartd.chain.outlays import outlay
from zmartd.chain.purchases import paid_out
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.errors import ZmartdError
from zmartd.market.json_fields import Amount
from zmartd.transactions.funds import Funds, InsufficientFunds

_SPARE_UNITS = 20_000 + 4 * 7_000
"""Compute units added to what the simulation took and a quarter more. Wallets leave the limit as it is, and
add up to four guards, of which none has taken more than 7,000 units on mainnet.
"""

ERRORS: tuple[type[ZmartdError], ...] = (ProgramRefused, InsufficientFunds, RpcUnavailable, RpcRejected)
"""The errors that `TransactionBuilder.build` raises."""


class Simulated(Struct, frozen=True):
    """The result of the simulation."""

    success: bool
    """Always true: a transaction that would fail is answered with an error."""
    units_consumed: int
    """Compute units that the transaction took."""
    pays: Amount | None
    """Lamports that a claim or a withdrawal pays; null for what pays nothing out of a market that is over."""


class UnsignedTransaction(Struct, frozen=True, kw_only=True):
    """A transaction whose fee payer and only signer is the caller's wallet.

    Sign its bytes as they are and send them to POST /api/transactions before the chain's block height is
    above `last_valid_block_height`.
    """

    transaction: Annotated[str, Meta(description="the transaction's bytes in base64, signature still zero")]
    last_valid_block_height: int
    """The chain's block height after which the transaction is void."""
    blockhash: str
    """The recent blockhash in the transaction, base58."""
    simulated: Simulated
    """The result of simulating the transaction."""


class TransactionBuilder:
    """Builds unsigned transactions and simulates them on the chain's current state."""

    def __init__(self, rpc: Rpc, idl: Idl, funds: Funds) -> None:
        self._rpc = rpc
        self._idl = idl
        self._codec = Codec(idl)
        self._funds = funds

    async def build(self, wallet: str, instruction: Instruction) -> UnsignedTransaction:
        """Build a transaction with `instruction` that `wallet` pays for and signs.

        Its compute limit is what the simulation took and a quarter more. Raises ProgramRefused when it would
        fail at this moment, InsufficientFunds where that is why, RpcUnavailable, RpcRejected.
        """
        payer = Pubkey.from_string(wallet)
        latest = await self._rpc.latest_blockhash()
        simulated = build_transaction(
            [*compute_budget(MAX_COMPUTE_UNITS), instruction], payer, latest.blockhash
        )
        result = await self._rpc.simulate(simulated)
        if result.err is not None:
            failure = explain_failure(result.err, result.logs, self._idl)
            accounts = [meta.pubkey for meta in instruction.accounts]
            takes = outlay(bytes(instruction.data), accounts)
            await self._funds.explain(failure, payer, [takes], LAMPORTS_PER_SIGNATURE)
            raise ProgramRefused(failure)
        units = min(result.units_consumed * 5 // 4 + _SPARE_UNITS, MAX_COMPUTE_UNITS)
        pays = paid_out(result, self._codec)
        wire = build_transaction([*compute_budget(units), instruction], payer, latest.blockhash)
        return UnsignedTransaction(
            transaction=base64.b64encode(wire).decode(),
            last_valid_block_height=latest.last_valid_block_height,
            blockhash=str(latest.blockhash),
            simulated=Simulated(
                success=True,
                units_consumed=result.units_consumed,
                pays=None if pays is None else str(pays),
            ),
        )
