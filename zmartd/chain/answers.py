"""What the RPC node answers: its JSON shapes, and the typed values that they become."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct, field
from solders.hash import Hash
from solders.pubkey import Pubkey

T = TypeVar("T")


class ChainAccount(Struct, frozen=True):
    """An account as it was at `slot`."""

    address: Pubkey
    owner: Pubkey
    lamports: int
    data: bytes
    executable: bool
    slot: int


class AtSlot(Struct, Generic[T], frozen=True):
    """What a node answered, and the slot that it was at: of several answers the oldest one's."""

    slot: int
    value: T


class ChainTime(Struct, frozen=True):
    """The chain's clock: unix seconds as programs see them in `slot`."""

    slot: int
    unix_timestamp: int


class ChainPosition(Struct, frozen=True, rename="camel"):
    """How far the chain is: the slot, and the number of blocks below it (slots can stay empty)."""

    slot: int = field(name="absoluteSlot")
    block_height: int


class LatestBlockhash(Struct, frozen=True):
    """What a new transaction is built on. From a block above the height on it is void."""

    blockhash: Hash
    last_valid_block_height: int


class SignatureStatus(Struct, frozen=True, rename="camel"):
    """A transaction in a block. `err` is None where it succeeded."""

    slot: int
    err: Any = None
    confirmation_status: Literal["processed", "confirmed", "finalized"] | None = None

    @property
    def is_confirmed(self) -> bool:
        """Voted for by two thirds of the stake: it will not be undone in practice."""
        return self.confirmation_status in ("confirmed", "finalized")


class SignatureStatuses(Struct, frozen=True):
    """Statuses by signature, None for what the node does not know at `slot`, its newest then."""

    slot: int
    by_signature: dict[str, SignatureStatus | None]


class SignatureInfo(Struct, frozen=True, rename="camel"):
    """One entry of an address's history. `err` is None where the transaction succeeded."""

    signature: str
    slot: int
    err: Any = None
    block_time: int | None = None
    confirmation_status: Literal["processed", "confirmed", "finalized"] | None = None


class SimulationResult(Struct, frozen=True, rename="camel"):
    """`err` is None where the transaction would succeed; `explain_failure` puts it into words.

    `fee` and the balances, in the order of the transaction's accounts, are lamports. Nodes tell them from
    Agave 3.0 on, of transactions that can be executed.
    """

    err: Any = None
    logs: tuple[str, ...] | None = ()
    units_consumed: int = 0
    fee: int | None = None
    pre_balances: tuple[int, ...] | None = None
    post_balances: tuple[int, ...] | None = None

    @property
    def taken_from_payer(self) -> int | None:
        """What the transaction takes from its fee payer besides the fee, below zero where it gives.

        None where the node does not tell.
        """
        if self.fee is None or not self.pre_balances or not self.post_balances:
            return None
        return self.pre_balances[0] - self.post_balances[0] - self.fee


class PrioritizationFee(Struct, frozen=True, rename="camel"):
    """The lowest price that landed in a block, in micro-lamports per compute unit."""

    prioritization_fee: int


class Context(Struct, frozen=True):
    slot: int


class WithContext(Struct, Generic[T], frozen=True):
    context: Context
    value: T


class BlockhashAnswer(Struct, frozen=True, rename="camel"):
    blockhash: str
    last_valid_block_height: int


class VersionAnswer(Struct, frozen=True):
    solana_core: str = field(name="solana-core")


class AccountAnswer(Struct, frozen=True):
    lamports: int
    owner: str
    data: tuple[bytes, Literal["base64"]]
    executable: bool = False

    def at(self, address: Pubkey, slot: int) -> ChainAccount:
        return ChainAccount(
            address, Pubkey.from_string(self.owner), self.lamports, self.data[0], self.executable, slot
        )


class KeyedAccountAnswer(Struct, frozen=True):
    pubkey: str
    account: AccountAnswer
