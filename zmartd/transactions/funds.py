"""Whether a transaction fails because its wallet holds too little, and what it would need."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.failures import ProgramFailure
from zmartd.chain.outlays import EMPTY_WALLET_LAMPORTS, Outlay
from zmartd.chain.rpc import Rpc
from zmartd.errors import DetailedError
from zmartd.market.json_fields import Amount
from zmartd.market.lmsr import SCALE

_BELOW_RENT = "InsufficientFundsForRent"
_SHORTAGES = frozenset({"InsufficientFunds", "InsufficientFundsForFee", "AccountNotFound", _BELOW_RENT})
_SOURCES = {
    "localnet": "`zmartd airdrop` on this development chain (or requestAirdrop of its RPC)",
    "devnet": "https://faucet.solana.com",
    "testnet": "https://faucet.solana.com",
}
_ANY_SOURCE = "a transfer of SOL from another wallet or an exchange"


class FundsDetails(Struct, frozen=True, kw_only=True):
    """What a wallet lacks."""

    wallet: str
    """Its address, base58."""
    has: Amount
    """The lamports that it holds."""
    needs: Amount
    """The lamports that this takes, with the network's fee and the rent of new accounts."""
    missing: Amount
    """The lamports that are missing."""
    where_from: str
    """Where they can come from, in words."""


class InsufficientFunds(DetailedError[FundsDetails]):
    """The wallet holds fewer lamports than this needs: send it more, or ask for less where there is an
    amount.
    """

    code = "insufficient_funds"

    def __init__(self, wallet: Pubkey, has: int, needs: int, source: str, *, less_is_possible: bool) -> None:
        """`less_is_possible`: whether an amount that was asked for is part of what it needs."""
        details = FundsDetails(
            wallet=str(wallet),
            has=str(has),
            needs=str(needs),
            missing=str(needs - has),
            where_from=source,
        )
        super().__init__(
            details,
            f"This needs {_sol(needs)} SOL and {wallet} holds {_sol(has)} SOL: {_sol(needs - has)} SOL are "
            f"missing. They can come from {source}{'; or ask for less' if less_is_possible else ''}.",
        )


class Funds:
    """Explains refusals for lack of funds. Wallets of `cluster` get theirs where that says."""

    def __init__(self, rpc: Rpc, cluster: str) -> None:
        self._rpc = rpc
        self._source = _SOURCES.get(cluster, _ANY_SOURCE)

    async def explain(
        self, failure: ProgramFailure, wallet: Pubkey, outlays: Sequence[Outlay], fee_lamports: int
    ) -> None:
        """Raises InsufficientFunds where `failure` comes of the wallet holding less than these take.

        Raises RpcUnavailable as well.
        """
        if failure.name not in _SHORTAGES:
            return
        makes = [one.makes for one in outlays if one.makes is not None]
        payer, *made = await self._rpc.accounts([wallet, *makes])
        there = {account.address for account in made if account is not None}
        has = 0 if payer is None else payer.lamports
        rents = {one.makes: one.rent for one in outlays if one.makes not in there}
        asked_for = sum(one.amount for one in outlays)
        needs = fee_lamports + asked_for + sum(rents.values())
        if failure.name == _BELOW_RENT and has >= needs:
            needs += EMPTY_WALLET_LAMPORTS
        if has < needs:
            raise InsufficientFunds(wallet, has, needs, self._source, less_is_possible=asked_for > 0)


def _sol(lamports: int) -> str:
    whole, part = divmod(lamports, SCALE)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")
