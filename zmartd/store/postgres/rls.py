"""On whose behalf a transaction runs, in the words that the row level security policies read."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from zmartd.market.ids import is_address

SERVICE = "service_role"
AUTHENTICATED = "authenticated"
ANONYMOUS = "anon"


class Caller(Struct, frozen=True):
    """Who asks: a signed-in wallet, or anybody when `wallet` is None. Raises ValueError for no address."""

    wallet: str | None = None

    def __post_init__(self) -> None:
        if self.wallet is not None and not is_address(self.wallet):
            raise ValueError("wallet must be the base58 address of a wallet")

    @property
    def role(self) -> str:
        return ANONYMOUS if self.wallet is None else AUTHENTICATED

    @property
    def claims(self) -> str:
        """What `request.jwt.claims` is set to: JSON in which the policies look up the wallet."""
        if self.wallet is None:
            return '{"role":"anon"}'
        claims = {"role": self.role, "sub": self.wallet, "walletAddress": self.wallet}
        return msgspec.json.encode(claims).decode()


ANYBODY = Caller()

BEGIN_AS_SERVICE = f"BEGIN; SET LOCAL ROLE {SERVICE}; SET LOCAL plan_cache_mode = force_custom_plan"
"""Statements over whole batches are planned for each batch, and for tables as large as they are by then: a
plan kept from when a table was empty took seconds for what takes a tenth of one."""


def begin_as(caller: Caller) -> str:
    """One message that opens a transaction as `caller`.

    SET takes no parameters. Nothing in this text can end a literal: the role is one of two constants, and
    `Caller` admits no wallet that is not base58.
    """
    return f"BEGIN; SET LOCAL ROLE {caller.role}; SET LOCAL request.jwt.claims = '{caller.claims}'"
