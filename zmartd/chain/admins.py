"""Who is the program's admin, and whom the daemon lets do what only an admin may."""

from __future__ import annotations

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

    def __init__(self, admin: str, may: str = "decides about markets") -> None:
        super().__init__(
            AdminDetails(admin), f"Only the program's admin, {admin}, {may}; sign in with that wallet."
        )


class Admins:
    """Knows the program's admin, as the configuration on the chain names it at that moment."""

    def __init__(self, rpc: Rpc, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._program_id = program_id

    async def require(self, wallet: str, may: str = "decides about markets") -> None:
        """Raises NotTheAdmin unless `wallet` is the program's admin; and ProtocolNotInitialized,
        RpcUnavailable, RpcRejected.

        `may`: what the admin may do.
        """
        admin = str((await read_config(self._rpc, self._program_id)).admin)
        if admin != wallet:
            raise NotTheAdmin(admin, may)
