"""RPC methods about lamports and tokens as a whole, and about who holds them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct
from solders.account import Account
from solders.pubkey import Pubkey

from zmartd.embedded.localnet import tokens
from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.encoding import account_json
from zmartd.embedded.localnet.errors import InvalidParams
from zmartd.embedded.localnet.params import AccountConfig, CommitmentConfig
from zmartd.embedded.localnet.response_context import require_slot, with_context

MOST_SHOWN = 20


class SupplyConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    exclude_non_circulating_accounts_list: bool = False


class LargestAccountsConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    filter: Literal["circulating", "nonCirculating"] | None = None


class TokenAccountFilter(Struct, frozen=True, rename="camel"):
    """Either `{mint}` or `{programId}`."""

    mint: Pubkey | None = None
    program_id: Pubkey | None = None


class SupplyMethods:
    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getSupply": self.supply,
            "getLargestAccounts": self.largest_accounts,
            "getTokenAccountBalance": self.token_account_balance,
            "getTokenAccountsByDelegate": self.token_accounts_by_delegate,
            "getTokenAccountsByOwner": self.token_accounts_by_owner,
            "getTokenLargestAccounts": self.token_largest_accounts,
            "getTokenSupply": self.token_supply,
        }

    def supply(self, config: SupplyConfig) -> Any:
        """The lamports of all accounts that genesis and transactions have written; all of them circulate."""
        require_slot(self._bank, config.level, config.min_context_slot)
        total = sum(account.lamports for _, account in self._bank.all_accounts(config.level))
        value = {
            "total": total,
            "circulating": total,
            "nonCirculating": 0,
            "nonCirculatingAccounts": [],
        }
        return with_context(self._bank, config.level, value)

    def largest_accounts(self, config: LargestAccountsConfig) -> Any:
        accounts = [] if config.filter == "nonCirculating" else self._bank.all_accounts(config.level)
        largest = heapq.nlargest(MOST_SHOWN, ((held.lamports, str(address)) for address, held in accounts))
        value = [{"address": address, "lamports": lamports} for lamports, address in largest]
        return with_context(self._bank, config.level, value)

    def token_account_balance(self, address: Pubkey, config: CommitmentConfig) -> Any:
        account = self._bank.account(address, config.level)
        if account is None:
            raise InvalidParams("Invalid param: could not find account")
        holding = tokens.read_holding(account)
        if holding is None:
            raise InvalidParams("Invalid param: not a Token account")
        decimals = self._mint(holding.mint, config).decimals
        return with_context(self._bank, config.level, tokens.amount_json(holding.amount, decimals))

    def token_supply(self, address: Pubkey, config: CommitmentConfig) -> Any:
        mint = self._mint(address, config)
        return with_context(self._bank, config.level, tokens.amount_json(mint.supply, mint.decimals))

    def token_largest_accounts(self, address: Pubkey, config: CommitmentConfig) -> Any:
        mint = self._mint(address, config)
        holdings = (
            (holding.amount, str(holder))
            for holder, account in self._bank.owned_by(mint.program, config.level)
            if (holding := tokens.read_holding(account)) is not None and holding.mint == address
        )
        value = [
            {"address": holder} | tokens.amount_json(amount, mint.decimals)
            for amount, holder in heapq.nlargest(MOST_SHOWN, holdings)
        ]
        return with_context(self._bank, config.level, value)

    def token_accounts_by_owner(
        self,
        owner: Pubkey,
        filter: TokenAccountFilter,  # noqa: A002 - the parameter's name in the API
        config: AccountConfig,
    ) -> Any:
        return self._holdings(filter, config, lambda holding: holding.owner == owner)

    def token_accounts_by_delegate(
        self,
        delegate: Pubkey,
        filter: TokenAccountFilter,  # noqa: A002 - the parameter's name in the API
        config: AccountConfig,
    ) -> Any:
        return self._holdings(filter, config, lambda holding: holding.delegate == delegate)

    def _holdings(
        self, wanted: TokenAccountFilter, config: AccountConfig, matches: Callable[[tokens.Holding], bool]
    ) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        if (wanted.mint is None) == (wanted.program_id is None):
            raise InvalidParams("Invalid params: filter: give one of mint, programId.")
        if wanted.mint is not None:
            program = self._mint(wanted.mint, config).program
        else:
            assert wanted.program_id is not None
            program = wanted.program_id
            if program not in tokens.PROGRAMS:
                raise InvalidParams("Invalid param: unrecognized Token program id")

        def is_wanted(account: Account) -> bool:
            holding = tokens.read_holding(account)
            if holding is None or wanted.mint not in (None, holding.mint):
                return False
            return matches(holding)

        value = [
            {"pubkey": str(address), "account": account_json(account, config.encoding, config.data_slice)}
            for address, account in self._bank.owned_by(program, config.level)
            if is_wanted(account)
        ]
        return with_context(self._bank, config.level, value)

    def _mint(self, address: Pubkey, config: CommitmentConfig) -> tokens.Mint:
        """Raises InvalidParams."""
        account = self._bank.account(address, config.level)
        if account is None:
            raise InvalidParams("Invalid param: could not find mint")
        mint = tokens.read_mint(account)
        if mint is None:
            raise InvalidParams("Invalid param: not a Token mint")
        return mint
