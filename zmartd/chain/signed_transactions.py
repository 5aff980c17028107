"""Signed transactions, and the ways in which they end."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from zmartd.chain.failures import ProgramFailure
from zmartd.errors import DetailedError, ZmartdError


class SignedTransaction(Struct, frozen=True):
    """A transaction whose bytes no longer change; sending them again can never execute it twice.

    `wire` is the serialized transaction, `purpose` a short text for people and logs, and from a block higher
    than `last_valid_block_height` on no validator takes it any more.
    """

    signature: str
    wire: bytes
    last_valid_block_height: int
    purpose: str
    relayed_for: str | None = None
    """The wallet that signed and pays for it, base58; None for a transaction of the daemon's own."""
    min_shares: int | None = None
    """The least share units that its purchases have to bring; it is not sent while they would bring fewer."""


class Fate(StrEnum):
    """How a transaction ended. All three are final."""

    LANDED = "landed"
    FAILED = "failed"
    EXPIRED = "expired"


class Landed(Struct, frozen=True):
    """The transaction was executed successfully in this slot."""

    signature: str
    slot: int


class SignatureDetails(Struct, frozen=True):
    """The transaction that an error is about."""

    signature: str
    """Its signature, base58."""


class TransactionFailed(ZmartdError):
    """The chain refused the transaction."""

    code = "transaction_failed"

    def __init__(self, signature: str | None, failure: ProgramFailure, slot: int | None = None) -> None:
        """`slot` is None when no validator executed it: a simulation already failed. `signature` is None
        when that was before it was signed."""
        super().__init__(failure.message)
        self.signature = signature
        self.failure = failure
        self.slot = slot


class TransactionExpired(DetailedError[SignatureDetails]):
    """The transaction did not land in time and never will. Build, sign and send a new one."""

    code = "transaction_expired"

    def __init__(self, signature: str) -> None:
        super().__init__(SignatureDetails(signature))
        self.signature = signature
