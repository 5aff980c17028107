"""Who is the program's admin, and whom else the operator lets see what admins see."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.program_accounts import read_config
from zmartd.chain.rpc import Rpc
from zmartd.errors import DetailedError


class AdminDetails(Struct, frozen=True):
    """Who may do what an error refuses."""

    admin: str
    """The wallet that is the program's admin, base58."""


class NotTheAdmin(DetailedError[AdminDetails]):
    """Only the program's admin decides about markets, or cancels them; sign in with its wallet."""

    code = "not_the_admin"

    def __init__(self, admin: str, may: str = "decides about markets", *, named_may: bool = False) -> None:
        """`named_may`: whether those that the operator names may as well."""
        who, remedy = f"the program's admin, {admin},", "sign in with that wallet"
        if named_may:
            who, remedy = f"{who} and wallets in the operator's auth.admins", "sign in with one of them"
        super().__init__(AdminDetails(admin), f"Only {who} {may}; {remedy}.")


class Admins:
    """The program's admin, as the configuration on the chain names it at that moment, and those that the
    operator names besides.

    Its methods raise ProtocolNotInitialized, RpcUnavailable and RpcRejected.
    """

    def __init__(self, rpc: Rpc, program_id: Pubkey, named: Collection[str] = ()) -> None:
        """`named` are the wallets of the setting auth.admins."""
        self._rpc = rpc
        self._program_id = program_id
        self._named = frozenset(named)

    async def of_program(self) -> str:
        """The program's admin, base58."""
        return str((await read_config(self._rpc, self._program_id)).admin)

    async def require(self, wallet: str, may: str = "decides about markets") -> None:
        """Raises NotTheAdmin unless `wallet` is the program's admin. `may`: what the admin may do."""
        admin = await self.of_program()
        if admin != wallet:
            raise NotTheAdmin(admin, may)

    async def require_any(self, wallet: str, may: str) -> None:
        """Raises NotTheAdmin unless `wallet` is the program's admin, or one that the operator names, for whom
        no chain is needed. `may`: what they may do, in the plural.
        """
        if wallet in self._named:
            return
        admin = await self.of_program()
        if admin != wallet:
            raise NotTheAdmin(admin, may, named_may=True)
