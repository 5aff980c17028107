"""The roles and claims by which row level security knows for whom a transaction runs."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from zmartd.market.ids import is_address
from zmartd.store.postgres import plans

SERVICE = "service_role"
AUTHENTICATED = "authenticated"
ANONYMOUS = "anon"


class Caller(Struct, frozen=True):
    """A signed-in wallet, or an anonymous caller when `wallet` is None.

    Raises ValueError if `wallet` is not an address.
    """

    wallet: str | None = None

    def __post_init__(self) -> None:
        if self.wallet is not None and not is_address(self.wallet):
            raise ValueError("wallet must be the base58 address of a wallet")

    @property
    def role(self) -> str:
        return ANONYMOUS if self.wallet is None else AUTHENTICATED

    @property
    def claims(self) -> str:
        """The value of `request.jwt.claims`: JSON from which the policies read the wallet."""
        if self.wallet is None:
            return '{"role":"anon"}'
        claims = {"role": self.role, "sub": self.wallet, "walletAddress": self.wallet}
        return msgspec.json.encode(claims).decode()


ANYBODY = Caller()


def _begin_as_service(*, keeps_plans: bool) -> str:
    settings = plans.settings(keeps=keeps_plans, is_callers=False)
    return f"BEGIN; SET LOCAL ROLE {SERVICE}" + "".join(f"; SET LOCAL {name} = {to}" for name, to in settings)


BEGIN_AS_SERVICE: Final = _begin_as_service(keeps_plans=False)
"""The statements that open a transaction as the daemon itself, for one message."""
BEGIN_AS_SERVICE_KEEPING_PLANS: Final = _begin_as_service(keeps_plans=True)
"""The same for one whose statements keep their plans."""


def begin_as(caller: Caller) -> str:
    """The statements that open a transaction as `caller`, for one message.

    SET takes no parameters, so the values are part of the text. None of them can end a literal: the role is
    one of two constants, and `Caller` accepts only base58.
    """
    return f"BEGIN; SET LOCAL ROLE {caller.role}; SET LOCAL request.jwt.claims = '{caller.claims}'"


ACT_AS_SERVICE = f"SET LOCAL ROLE {SERVICE}"
"""The rest of a caller's transaction is the daemon's own work."""


def settings_of(caller: Caller | None, *, keeps_plan: bool) -> tuple[tuple[str, str], ...]:
    """The settings, role first, by which a statement is run as `caller`, or as the daemon itself for None."""
    planned = plans.settings(keeps=keeps_plan, is_callers=caller is not None)
    if caller is None:
        return (("role", SERVICE), *planned)
    return (("role", caller.role), ("request.jwt.claims", caller.claims), *planned)
