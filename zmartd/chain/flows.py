"""What a transaction did to its accounts' lamports, beside what the program's events say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from msgspec import Struct

from zmartd.chain.raw import RawInstruction, RawTransaction
from zmartd.market import ids

_SYSTEM_PROGRAM = "1" * 32
_TAG = slice(0, 4)
_PLACES = {0: (0, 1), 2: (0, 1), 5: (0, 1), 11: (0, 2), 3: (0, 1)}
"""The system program's instructions that move lamports (CreateAccount, Transfer, WithdrawNonceAccount,
TransferWithSeed, CreateAccountWithSeed), each with the places of the payer and the receiver among its
accounts: solana-system-interface, `SystemInstruction`."""
_WITH_SEED = 3
_SEED_LENGTH = slice(36, 44)


class Flow(Struct, frozen=True, gc=False):
    """An account's lamports before and after a transaction, and what its own instructions moved.

    `sent` and `received` are the transfers of the system program and, of the account that paid for the
    transaction, the fee.
    """

    before: int
    after: int
    sent: int
    received: int

    @property
    def gained(self) -> int:
        """What other programs added to the account; negative where they took from it."""
        return self.after - self.before + self.sent - self.received


def read_flows(transaction: RawTransaction) -> Mapping[str, Flow]:
    """The flows of all writable accounts by address; empty where the node has not kept the balances."""
    keys, meta = transaction.keys(), transaction.meta
    writable = transaction.writable()
    if not keys or len(keys) != len(meta.pre_balances) or len(keys) != len(meta.post_balances):
        return {}
    sent: dict[str, int] = defaultdict(int, {keys[0]: meta.fee})
    received: dict[str, int] = defaultdict(int)
    for instruction in transaction.instructions():
        if instruction.program(keys) == _SYSTEM_PROGRAM:
            _count(instruction, keys, sent, received)
    balances = zip(keys, meta.pre_balances, meta.post_balances, strict=True)
    return {
        key: Flow(before, after, sent[key], received[key])
        for key, before, after in balances
        if key in writable
    }


def _count(
    instruction: RawInstruction, keys: list[str], sent: dict[str, int], received: dict[str, int]
) -> None:
    try:
        data, accounts = ids.base58_decode(instruction.data), instruction.addresses(keys)
        tag = int.from_bytes(data[_TAG], "little")
        payer, receiver = (accounts[place] for place in _PLACES[tag])
    except (ValueError, KeyError, IndexError):
        return
    start = _TAG.stop
    if tag == _WITH_SEED:
        start = _SEED_LENGTH.stop + int.from_bytes(data[_SEED_LENGTH], "little")
    lamports = int.from_bytes(data[start : start + 8], "little")
    sent[payer] += lamports
    received[receiver] += lamports
