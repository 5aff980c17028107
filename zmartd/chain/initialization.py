"""Sends the program's first configuration. Whoever sends it is the program's admin; it is taken only once."""

from __future__ import annotations

from collections.abc import Sequence

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.assemble import sign
from zmartd.chain.idl import Idl
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import find_config
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.clock import Clock


async def initialize(
    rpc: Rpc, idl: Idl, clock: Clock, *, admin: Keypair, backend_authority: Pubkey, fee_wallet: Pubkey
) -> str | None:
    """Create the program's global configuration, and await its confirmation; None where there is one.

    `admin` pays, and becomes the program's admin. `fee_wallet` receives the protocol's fees. Gives the
    transaction's signature. Raises RpcUnavailable, RpcRejected, TransactionFailed or TransactionExpired.
    """
    if await find_config(rpc, idl.program_id) is not None:
        return None
    latest = await rpc.latest_blockhash()
    instruction = Program(idl, idl.program_id).initialize_global_config(
        admin=admin.pubkey(), protocol_fee_wallet=fee_wallet, backend_authority=backend_authority
    )
    transaction = sign(
        [instruction], admin, latest.blockhash, latest.last_valid_block_height, "initialize the program"
    )
    async with Sender(rpc, _NoOutbox(), clock, idl) as sender:
        await sender.send(transaction)
    return transaction.signature


def differences(
    found: GlobalConfig, *, admin: Pubkey, backend_authority: Pubkey, fee_wallet: Pubkey
) -> list[str]:
    """In what a configuration differs from the one that was wanted, in words."""
    pairs = (
        ("admin", found.admin, admin),
        ("backend authority", found.backend_authority, backend_authority),
        ("fee wallet", found.protocol_fee_wallet, fee_wallet),
    )
    return [f"its {name} is {actual}, not {wanted}" for name, actual, wanted in pairs if actual != wanted]


class _NoOutbox:
    """Records nothing: the program takes a configuration once, so sending it again does no harm."""

    async def record(self, transaction: SignedTransaction) -> None:
        return

    async def record_fate(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        return

    async def pending(self, older_than_seconds: float = 0.0) -> Sequence[SignedTransaction]:
        return ()
