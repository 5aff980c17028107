"""What the daemon's own transactions ask of the network, and what they offer for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.chain.assemble import MAX_COMPUTE_UNITS, build_transaction, compute_budget
from zmartd.chain.logs import TRUNCATED
from zmartd.chain.network_fees import highest_price
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.config import NetworkFeeSettings
from zmartd.log import get_logger

log = get_logger(__name__)

_FIRST_RAISE: Final = 1_000
"""In micro-lamports per compute unit: what is offered at least once a transaction has expired."""
_MAX_RAISES: Final = 20
_ANY_PRICE: Final = 1
_BUDGET_INSTRUCTIONS: Final = 2
_BEGINS: Final = " invoke [1]"
"""The end of the line that a node logs when an instruction begins."""


class Tried(Struct, frozen=True):
    """The result of a simulation. `err` and `logs` are the node's; `units` are those that it took."""

    err: object
    logs: tuple[str, ...] | None
    units: int

    @property
    def failed_at(self) -> int | None:
        """Which of the instructions failed; None where none did, or what failed was not one of them."""
        match self.err:
            case {"InstructionError": [int(index), _]} if index >= _BUDGET_INSTRUCTIONS:
                return index - _BUDGET_INSTRUCTIONS
        return None

    @property
    def is_truncated(self) -> bool:
        """Whether the node kept only the first of its logs, so that some of its events would be in none."""
        return self.logs is not None and TRUNCATED in self.logs

    @property
    def logged(self) -> int:
        """How many of the instructions have all their logs, where `is_truncated`.

        The last that begins may lack some, and does not count.
        """
        begun = sum(line.endswith(_BEGINS) for line in self.logs or ())
        return max(0, begun - 1 - _BUDGET_INSTRUCTIONS)

    @property
    def was_exhausted(self) -> bool:
        """Whether the units did not suffice."""
        match self.err:
            case {"InstructionError": [_, "ComputationalBudgetExceeded" | "ProgramFailedToComplete"]}:
                return True
        return False


class Budgets:
    """Simulates instructions, and decides how many compute units to ask for, and at which price."""

    def __init__(self, rpc: Rpc, settings: NetworkFeeSettings) -> None:
        self._rpc = rpc
        self._settings = settings

    async def tried(self, instructions: Sequence[Instruction], payer: Pubkey) -> Tried:
        """What a transaction of these instructions would do now, within all the units that it can ask for.

        Raises TransactionTooLarge, RpcUnavailable, RpcRejected.
        """
        latest = await self._rpc.latest_blockhash()
        budget = compute_budget(MAX_COMPUTE_UNITS, _ANY_PRICE)
        result = await self._rpc.simulate(
            build_transaction([*budget, *instructions], payer, latest.blockhash)
        )
        return Tried(result.err, result.logs, result.units_consumed)

    def limit(self, units: int) -> int:
        """The compute units to ask for where a simulation took so many."""
        return max(1, min(self._with_margin(units), MAX_COMPUTE_UNITS))

    def leaves_a_margin(self, units: int) -> bool:
        """Whether a transaction may ask for as many more than these as it should."""
        return self._with_margin(units) <= MAX_COMPUTE_UNITS

    async def price(self, instructions: Sequence[Instruction], limit: int, expired: int) -> int:
        """The price of each of `limit` units, in micro-lamports, that together cost no more than they may.

        What landed of late for the accounts that are written, and twice as much for each earlier transaction
        for the same that has expired. A node that does not tell what landed is taken for one that says 0.
        """
        written = dict.fromkeys(
            meta.pubkey for instruction in instructions for meta in instruction.accounts if meta.is_writable
        )
        try:
            fees = sorted(await self._rpc.prioritization_fees(list(written)))
        except (RpcRejected, RpcUnavailable) as error:
            log.warning("transaction.fees_unknown", reason=error.message)
            fees = []
        price = _percentile(fees, self._settings.priority_fee_percentile)
        if expired:
            price = max(price, _FIRST_RAISE) << min(expired, _MAX_RAISES)
        return min(price, highest_price(self._settings.max_priority_fee_lamports, limit))

    def _with_margin(self, units: int) -> int:
        return units - (-units * self._settings.compute_margin_percent // 100)


def _percentile(ordered: Sequence[int], percentile: int) -> int:
    """The least value that so many percent of all are not above; 0 where there is none."""
    if not ordered:
        return 0
    return ordered[max(0, -(-len(ordered) * percentile // 100) - 1)]
