"""Initializes the program on a new localnet."""

from __future__ import annotations

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.chain.idl import default_idl
from zmartd.chain.initialization import initialize
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock


async def initialize_program(rpc_url: str, program_id: Pubkey, authority: Keypair, treasury: Pubkey) -> None:
    """Create the program's global configuration unless it exists.

    `authority` becomes admin and backend authority, `treasury` receives the protocol's fees. Raises
    RpcUnavailable or TransactionFailed.
    """
    clock = SystemClock()
    async with Rpc(rpc_url, clock=clock) as rpc:
        await initialize(
            rpc,
            default_idl(str(program_id)),
            clock,
            admin=authority,
            backend_authority=authority.pubkey(),
            fee_wallet=treasury,
        )
