"""RPC methods that read accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.account_filter import account_filter
from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.encoding import account_json
from zmartd.embedded.localnet.params import (
    AccountConfig,
    CommitmentConfig,
    MultipleAccountsConfig,
    ProgramAccountsConfig,
)
from zmartd.embedded.localnet.response_context import require_slot, with_context

MAX_MULTIPLE_ACCOUNTS = 100
MAX_ACCOUNT_BYTES = 10 * 1024 * 1024


class AccountMethods:
    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getBalance": self.balance,
            "getAccountInfo": self.account_info,
            "getMultipleAccounts": self.multiple_accounts,
            "getProgramAccounts": self.program_accounts,
            "getMinimumBalanceForRentExemption": self.minimum_balance_for_rent_exemption,
        }

    def balance(self, address: Pubkey, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        account = self._bank.account(address, config.level)
        return with_context(self._bank, config.level, 0 if account is None else account.lamports)

    def account_info(self, address: Pubkey, config: AccountConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return with_context(self._bank, config.level, self._account(address, config))

    def multiple_accounts(
        self,
        addresses: Annotated[list[Pubkey], Meta(max_length=MAX_MULTIPLE_ACCOUNTS)],
        config: MultipleAccountsConfig,
    ) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        value = [self._account(address, config) for address in addresses]
        return with_context(self._bank, config.level, value)

    def program_accounts(self, program_id: Pubkey, config: ProgramAccountsConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        matches = account_filter(config.filters or ())
        value = [
            {"pubkey": str(address), "account": account_json(account, config.encoding, config.data_slice)}
            for address, account in self._bank.owned_by(program_id, config.level)
            if matches(account)
        ]
        return with_context(self._bank, config.level, value) if config.with_context else value

    def minimum_balance_for_rent_exemption(
        self,
        data_bytes: Annotated[int, Meta(ge=0, le=MAX_ACCOUNT_BYTES)],
        config: CommitmentConfig,
    ) -> Any:
        return self._bank.rent_exempt_lamports(data_bytes)

    def _account(self, address: Pubkey, config: AccountConfig) -> dict[str, Any] | None:
        account = self._bank.account(address, config.level)
        return None if account is None else account_json(account, config.encoding, config.data_slice)
