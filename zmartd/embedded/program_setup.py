"""Initializes the program on a new localnet."""

from __future__ import annotations

from collections.abc import Sequence

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.chain.assemble import sign
from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import find_config
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.clock import SystemClock


async def initialize_program(rpc_url: str, program_id: Pubkey, authority: Keypair, treasury: Pubkey) -> None:
    """Create the program's global configuration unless it exists.

    `authority` becomes admin and backend authority, `treasury` receives the protocol's fees. Raises
    RpcUnavailable or TransactionFailed.
    """
    clock = SystemClock()
    idl = default_idl(str(program_id))
    async with Rpc(rpc_url, clock=clock) as rpc:
        if await find_config(rpc, program_id) is not None:
            return
        latest = await rpc.latest_blockhash()
        instruction = Program(idl, program_id).initialize_global_config(
            admin=authority.pubkey(),
            protocol_fee_wallet=treasury,
            backend_authority=authority.pubkey(),
        )
        transaction = sign(
            [instruction],
            authority,
            latest.blockhash,
            latest.last_valid_block_height,
            "initialize the program",
        )
        async with Sender(rpc, _NoOutbox(), clock, idl) as sender:
            await sender.send(transaction)


class _NoOutbox:
    """Records nothing: if the process ends here, the next start initializes the program again."""

    async def record(self, transaction: SignedTransaction) -> None:
        return

    async def record_fate(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        return

    async def pending(self, older_than_seconds: float = 0.0) -> Sequence[SignedTransaction]:
        return ()
