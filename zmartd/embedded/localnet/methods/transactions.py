"""RPC methods that send, simulate and look up transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from solders.account import Account
from solders.compute_budget import set_compute_unit_limit
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from zmartd.chain.network_fees import fee_lamports
from zmartd.embedded.localnet.chain.bank import Bank, NotLanded
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.records import LandedTransaction
from zmartd.embedded.localnet.chain.runtime import Outcome
from zmartd.embedded.localnet.encoding import account_json, transaction_json
from zmartd.embedded.localnet.error_text import describe
from zmartd.embedded.localnet.errors import (
    InvalidParams,
    PreflightFailure,
    SignatureVerificationFailure,
)
from zmartd.embedded.localnet.faults import FaultPlan
from zmartd.embedded.localnet.params import (
    CommitmentConfig,
    SendConfig,
    SignaturesConfig,
    SimulateConfig,
    StatusConfig,
    TransactionConfig,
    TransactionEncoding,
)
from zmartd.embedded.localnet.response_context import require_confirmed, require_slot, with_context
from zmartd.embedded.localnet.wire import read_transaction

MAX_STATUSES = 256
MAX_AIRDROP_LAMPORTS = 10_000_000 * 10**9
_AIRDROP_COMPUTE_UNITS = 1_000
_AS_JSON = TransactionConfig()


class TransactionMethods:
    def __init__(self, bank: Bank, faults: FaultPlan) -> None:
        self._bank = bank
        self._faults = faults
        self._airdrops = 0

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "sendTransaction": self.send,
            "simulateTransaction": self.simulate,
            "getSignatureStatuses": self.signature_statuses,
            "getTransaction": self.transaction,
            "getSignaturesForAddress": self.signatures_for_address,
            "requestAirdrop": self.request_airdrop,
        }

    def send(self, transaction: str, config: SendConfig) -> Any:
        """The signature, when the transaction is in the ledger.

        Without preflight, a transaction that cannot land is dropped and answered with its signature, as by a
        real node. Preflight runs on the open slot, whatever its commitment.
        """
        parsed = read_transaction(transaction, config.encoding)
        require_slot(self._bank, Commitment.of(config.preflight_commitment), config.min_context_slot)
        signed = _signatures_are_valid(parsed)
        if not config.skip_preflight:
            if not signed:
                raise SignatureVerificationFailure
            self._require_success(parsed)
        if signed and not self._faults.loses_transaction():
            try:
                self._bank.execute(parsed)
            except NotLanded as refused:
                if not config.skip_preflight:
                    raise _preflight_failure(refused.error, refused.outcome) from None
        return str(parsed.signatures[0])

    def simulate(self, transaction: str, config: SimulateConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        parsed = read_transaction(transaction, config.encoding)
        if config.sig_verify and config.replace_recent_blockhash:
            raise InvalidParams("sigVerify may not be used with replaceRecentBlockhash")
        if config.sig_verify and not _signatures_are_valid(parsed):
            raise SignatureVerificationFailure
        replacement = None
        if config.replace_recent_blockhash:
            blockhash, last_valid_block_height = self._bank.blocks.latest_blockhash(config.level)
            replacement = {"blockhash": str(blockhash), "lastValidBlockHeight": last_valid_block_height}
        elif (refusal := self._bank.refusal(parsed)) is not None:
            value = _simulation(refusal, None) | {"accounts": self._accounts_after(config, {}, failed=True)}
            return with_context(self._bank, config.level, value)
        outcome, after = self._bank.simulate(parsed)
        value = _simulation(outcome.error, outcome) | {
            "accounts": self._accounts_after(config, after, failed=outcome.error is not None),
            "replacementBlockhash": replacement,
            **self._balances(parsed, outcome, after),
        }
        if config.inner_instructions:
            value["innerInstructions"] = msgspec.to_builtins(outcome.inner_instructions)
        return with_context(self._bank, config.level, value)

    def signature_statuses(
        self,
        signatures: Annotated[list[Signature], Meta(max_length=MAX_STATUSES)],
        config: StatusConfig,
    ) -> Any:
        value = [self._status(signature, config) for signature in signatures]
        return with_context(self._bank, Commitment.PROCESSED, value)

    def transaction(
        self, signature: Signature, config: TransactionConfig | TransactionEncoding = _AS_JSON
    ) -> Any:
        if not isinstance(config, TransactionConfig):
            config = TransactionConfig(encoding=config)
        require_confirmed(config.level)
        landed = self._bank.transaction(signature)
        if landed is None or self._bank.blocks.commitment_of(landed.slot) < config.level:
            return None
        return transaction_json(landed, config.encoding, config.max_supported_transaction_version)

    def signatures_for_address(self, address: Pubkey, config: SignaturesConfig) -> Any:
        require_confirmed(config.level)
        require_slot(self._bank, config.level, config.min_context_slot)
        found = self._bank.ledger.transactions_mentioning(
            address,
            last_slot=self._bank.blocks.at(config.level).slot,
            before=config.before,
            until=config.until,
            limit=config.limit,
        )
        return [
            {
                "signature": str(landed.signature),
                "slot": landed.slot,
                "err": landed.meta.err,
                "memo": landed.memo,
                "blockTime": landed.unix_time,
                "confirmationStatus": self._bank.blocks.commitment_of(landed.slot).label,
            }
            for landed in found
        ]

    def request_airdrop(
        self,
        address: Pubkey,
        lamports: Annotated[int, Meta(ge=1, le=MAX_AIRDROP_LAMPORTS)],
        config: CommitmentConfig,
    ) -> Any:
        """The signature of a transfer from the faucet.

        Each transfer has another compute unit limit, so that equal airdrops in a slot are different
        transactions.
        """
        self._airdrops += 1
        faucet = self._bank.faucet
        blockhash, _ = self._bank.blocks.latest_blockhash(Commitment.CONFIRMED)
        message = Message.new_with_blockhash(
            [
                set_compute_unit_limit(_AIRDROP_COMPUTE_UNITS + self._airdrops % 1_000_000),
                transfer(TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=address, lamports=lamports)),
            ],
            faucet.pubkey(),
            blockhash,
        )
        landed = self._bank.execute(VersionedTransaction(message, [faucet]))
        if landed.meta.err is not None:
            raise InvalidParams(f"Invalid params: lamports: {describe(landed.meta.err)}.")
        return str(landed.signature)

    def _require_success(self, transaction: VersionedTransaction) -> None:
        refusal = self._bank.refusal(transaction)
        if refusal is not None:
            raise _preflight_failure(refusal, None)
        outcome, _ = self._bank.simulate(transaction)
        if outcome.error is not None:
            raise _preflight_failure(outcome.error, outcome)

    def _accounts_after(
        self, config: SimulateConfig, after: Mapping[Pubkey, Account], *, failed: bool
    ) -> list[Any] | None:
        """The requested accounts after the simulation."""
        if config.accounts is None:
            return None
        encoding = config.accounts.encoding or "base64"
        if encoding in ("binary", "base58"):
            raise InvalidParams("base58 encoding not supported")
        accounts: list[Any] = []
        for address in config.accounts.addresses:
            account = after.get(address) or self._bank.account(address, Commitment.PROCESSED)
            shown = None if failed or account is None or account.lamports == 0 else account
            accounts.append(None if shown is None else account_json(shown, encoding, None))
        return accounts

    def _balances(
        self, transaction: VersionedTransaction, outcome: Outcome, after: Mapping[Pubkey, Account]
    ) -> dict[str, Any]:
        """The fee and the balances before and after, as Agave gives them from version 3.0 on.

        Nothing for a transaction that cannot be executed; one that is executed and fails pays its fee.
        """
        if isinstance(outcome.error, str):
            return {}
        keys = self._bank.keys(transaction)
        fee = fee_lamports(transaction.message)
        before = [self._bank.lamports(address) for address in keys]
        balances = [
            after[address].lamports if address in after else lamports
            for address, lamports in zip(keys, before, strict=True)
        ]
        if outcome.error is not None:
            balances[0] -= fee
        return {
            "fee": fee,
            "preBalances": before,
            "postBalances": balances,
            "preTokenBalances": [],
            "postTokenBalances": [],
        }

    def _status(self, signature: Signature, config: StatusConfig) -> dict[str, Any] | None:
        landed = self._bank.transaction(signature)
        if landed is None:
            return None
        blocks = self._bank.blocks
        if not (blocks.is_recent(landed.slot) or config.search_transaction_history):
            return None
        commitment = blocks.commitment_of(landed.slot)
        return {
            "slot": landed.slot,
            "confirmations": None if commitment is Commitment.FINALIZED else self._confirmations(landed),
            "err": landed.meta.err,
            "status": {"Ok": None} if landed.meta.err is None else {"Err": landed.meta.err},
            "confirmationStatus": commitment.label,
        }

    def _confirmations(self, landed: LandedTransaction) -> int:
        """The number of complete blocks from the transaction's block on."""
        slot_hashes = self._bank.blocks.slot_hashes()
        return sum(slot >= landed.slot for slot, _ in slot_hashes)


def _signatures_are_valid(transaction: VersionedTransaction) -> bool:
    return all(transaction.verify_with_results())


def _preflight_failure(error: Any, outcome: Outcome | None) -> PreflightFailure:
    data = _simulation(error, outcome) | {"accounts": None}
    return PreflightFailure(f"Transaction simulation failed: {describe(error)}", data)


def _simulation(error: Any, outcome: Outcome | None) -> dict[str, Any]:
    returned = None if outcome is None else msgspec.to_builtins(outcome.return_data)
    return {
        "err": error,
        "logs": [] if outcome is None else outcome.logs,
        "unitsConsumed": 0 if outcome is None else outcome.compute_units_consumed,
        "returnData": returned,
        "innerInstructions": None,
        "replacementBlockhash": None,
    }
