"""Reading accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta
from solders.account import Account
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.encoding import account_json
from zmartd.embedded.localnet.errors import InvalidParams
from zmartd.embedded.localnet.methods.context import require_slot, with_context
from zmartd.embedded.localnet.params import (
    AccountConfig,
    CommitmentConfig,
    Memcmp,
    MultipleAccountsConfig,
    ProgramAccountFilter,
    ProgramAccountsConfig,
    WireEncoding,
    decode_bytes,
)

MAX_MULTIPLE_ACCOUNTS = 100
MAX_ACCOUNT_BYTES = 10 * 1024 * 1024
MAX_MEMCMP_BYTES = 128

AccountFilter = Callable[[Account], bool]


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


def account_filter(filters: Sequence[ProgramAccountFilter]) -> AccountFilter:
    """Whether an account passes every filter. Raises InvalidParams when one is neither of the two kinds."""
    tests = [_test(one) for one in filters]
    return lambda account: all(test(account) for test in tests)


def _test(wanted: ProgramAccountFilter) -> AccountFilter:
    if wanted.data_size is not None and wanted.memcmp is None:
        size = wanted.data_size
        return lambda account: len(account.data) == size
    if wanted.memcmp is not None and wanted.data_size is None:
        start, content = wanted.memcmp.offset, _memcmp_bytes(wanted.memcmp)
        return lambda account: account.data[start : start + len(content)] == content
    raise InvalidParams("Invalid params: filters: each is {dataSize} or {memcmp}.")


def _memcmp_bytes(memcmp: Memcmp) -> bytes:
    if isinstance(memcmp.wanted, list):
        content = bytes(memcmp.wanted)
        if len(content) > MAX_MEMCMP_BYTES:
            raise InvalidParams(f"Invalid params: filters: memcmp has at most {MAX_MEMCMP_BYTES} bytes.")
        return content
    encoding: WireEncoding = "base64" if memcmp.encoding == "base64" else "base58"
    return decode_bytes("memcmp", memcmp.wanted, encoding, MAX_MEMCMP_BYTES)
