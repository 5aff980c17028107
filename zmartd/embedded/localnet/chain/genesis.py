"""Creates a chain."""

from __future__ import annotations

import os
from collections.abc import Mapping

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.ledger import Ledger
from zmartd.embedded.localnet.chain.records import Block, Genesis

FAUCET_LAMPORTS = 500_000_000 * 10**9


def create_genesis(ledger: Ledger, unix_time: int, balances: Mapping[Pubkey, int]) -> Genesis:
    """Write the first block, accounts with `balances` (lamports by address), and the chain's constants."""
    first = Hash(os.urandom(32))
    faucet = Keypair()
    genesis = Genesis(
        genesis_hash=str(first),
        faucet_key=bytes(faucet),
        identity=str(Keypair().pubkey()),
    )
    balances = {faucet.pubkey(): FAUCET_LAMPORTS, **balances}
    with ledger.transaction():
        ledger.put_genesis(genesis)
        ledger.put_block(Block(slot=0, height=0, unix_time=unix_time, blockhash=first))
        ledger.put_accounts(
            {address: Account(lamports, b"", Pubkey.default()) for address, lamports in balances.items()}
        )
    return genesis
