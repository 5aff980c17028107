"""WebSocket subscriptions, and their notifications at the requested commitment."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from solders.account import Account
from solders.pubkey import Pubkey
from solders.signature import Signature

from zmartd.embedded.localnet.account_filter import AccountFilter
from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.observer import CompletedBlock
from zmartd.embedded.localnet.chain.records import Block, LandedTransaction
from zmartd.embedded.localnet.encoding import account_json
from zmartd.embedded.localnet.errors import InvalidRequest, RpcError
from zmartd.embedded.localnet.params import AccountConfig
from zmartd.embedded.localnet.response_context import context

MAX_PER_CLIENT = 1_000
BlockView = Callable[[CompletedBlock], Any]
"""What a subscriber is shown of a block, or None."""
EVERY_TRANSACTION = "all"
_PLAIN = AccountConfig()


class Client(Protocol):
    """A connected WebSocket client."""

    def send(self, payload: bytes) -> None:
        """Queue a text frame. Must not block or raise."""


class Topic(Struct, frozen=True):
    """The subject of a subscription."""

    method: str
    """The method of its notifications, e.g. `accountNotification`."""
    key: Hashable
    """An address, a signature, EVERY_TRANSACTION, or None where there is no choice."""
    commitment: Commitment = Commitment.PROCESSED


class Subscription(Struct, frozen=True, eq=False):
    number: int
    client: Client
    topic: Topic
    accounts: AccountConfig
    """The encoding of accounts."""
    matches: AccountFilter
    show_block: BlockView


class Subscriptions:
    """The subscriptions of all clients; an observer of the bank."""

    def __init__(self, bank: Bank, call_soon: Callable[..., object]) -> None:
        """`call_soon` runs a function after the present call, so that answers precede notifications."""
        self._bank = bank
        self._call_soon = call_soon
        self._numbers = itertools.count(1)
        self._by_topic: defaultdict[Topic, dict[int, Subscription]] = defaultdict(dict)
        self._by_client: defaultdict[Client, dict[int, Subscription]] = defaultdict(dict)

    def add(
        self,
        client: Client,
        topic: Topic,
        accounts: AccountConfig = _PLAIN,
        matches: AccountFilter = lambda _: True,
        show_block: BlockView = lambda _: None,
    ) -> int:
        """Add a subscription; its number. Raises InvalidRequest when the client has too many."""
        if len(self._by_client[client]) >= MAX_PER_CLIENT:
            raise InvalidRequest(f"a connection has at most {MAX_PER_CLIENT} subscriptions")
        number = next(self._numbers)
        subscription = Subscription(number, client, topic, accounts, matches, show_block)
        self._by_topic[topic][number] = subscription
        self._by_client[client][number] = subscription
        if isinstance(topic.key, Signature):
            self._call_soon(self._notify_if_known, topic)
        return number

    def remove(self, client: Client, number: int) -> bool:
        """Remove a subscription; whether the client had it."""
        subscription = self._by_client[client].pop(number, None)
        if subscription is None:
            return False
        followers = self._by_topic[subscription.topic]
        del followers[number]
        if not followers:
            del self._by_topic[subscription.topic]
        return True

    def remove_client(self, client: Client) -> None:
        """Remove all subscriptions of a client that has disconnected."""
        for number in list(self._by_client[client]):
            self.remove(client, number)
        del self._by_client[client]

    # Observer

    def landed(self, transaction: LandedTransaction) -> None:
        self._notify_of_transaction(transaction, Commitment.PROCESSED)

    def accounts_written(self, addresses: frozenset[Pubkey]) -> None:
        self._notify_of_accounts(addresses, Commitment.PROCESSED, self._bank.blocks.opened.slot)

    def confirmed(self, completed: CompletedBlock) -> None:
        self._notify_of_block(completed, Commitment.CONFIRMED)
        blocks = self._bank.blocks
        slots = {"parent": completed.block.slot, "slot": blocks.opened.slot, "root": blocks.finalized.slot}
        self._notify(self._followers("slotNotification", None, Commitment.PROCESSED), slots)
        failed = sum(transaction.meta.err is not None for transaction in completed.transactions)
        stats = {
            "numTransactionEntries": len(completed.transactions),
            "numSuccessfulTransactions": len(completed.transactions) - failed,
            "numFailedTransactions": failed,
            "maxTransactionsPerEntry": min(1, len(completed.transactions)),
        }
        self._notify_of_slot(completed.block, "frozen", stats=stats)
        self._notify_of_slot(completed.block, "optimisticConfirmation")
        self._notify_of_slot(blocks.opened, "createdBank", parent=completed.block.slot)

    def finalized(self, completed: CompletedBlock) -> None:
        self._notify_of_block(completed, Commitment.FINALIZED)
        self._notify(self._followers("rootNotification", None, Commitment.PROCESSED), completed.block.slot)
        self._notify_of_slot(completed.block, "root")

    # Notifications

    def _notify_of_block(self, completed: CompletedBlock, commitment: Commitment) -> None:
        for transaction in completed.transactions:
            self._notify_of_transaction(transaction, commitment)
        self._notify_of_accounts(completed.changed, commitment, completed.block.slot)
        for subscription in self._followers("blockNotification", None, commitment):
            value = subscription.show_block(completed)
            if value is not None:
                self._notify((subscription,), {"context": context(completed.block.slot), "value": value})

    def _notify_of_slot(self, block: Block, update: str, **details: Any) -> None:
        result = {"slot": block.slot, "timestamp": block.unix_time * 1000, "type": update, **details}
        self._notify(self._followers("slotsUpdatesNotification", None, Commitment.PROCESSED), result)

    def _notify_of_transaction(self, transaction: LandedTransaction, commitment: Commitment) -> None:
        self._notify_of_signature(transaction, commitment)
        mentioned: set[Hashable] = {EVERY_TRANSACTION, *transaction.keys}
        value = None
        for key in mentioned:
            followers = self._followers("logsNotification", key, commitment)
            if followers and value is None:
                value = {
                    "signature": str(transaction.signature),
                    "err": transaction.meta.err,
                    "logs": transaction.meta.log_messages,
                }
            self._notify(followers, {"context": context(transaction.slot), "value": value})

    def _notify_of_signature(self, transaction: LandedTransaction, commitment: Commitment) -> None:
        followers = self._followers("signatureNotification", transaction.signature, commitment)
        self._notify(
            followers, {"context": context(transaction.slot), "value": {"err": transaction.meta.err}}
        )
        for subscription in followers:  # a signature is notified once
            self.remove(subscription.client, subscription.number)

    def _notify_if_known(self, topic: Topic) -> None:
        assert isinstance(topic.key, Signature)
        transaction = self._bank.transaction(topic.key)
        if transaction and self._bank.blocks.commitment_of(transaction.slot) >= topic.commitment:
            self._notify_of_signature(transaction, topic.commitment)

    def _notify_of_accounts(self, addresses: Iterable[Pubkey], commitment: Commitment, slot: int) -> None:
        if not self._by_topic:
            return
        for address in addresses:
            account = self._bank.account(address, commitment)
            gone = Account(0, b"", Pubkey.default())
            for subscription in self._followers("accountNotification", address, commitment):
                self._notify_of_account(subscription, slot, account or gone, None)
            if account is None:
                continue
            for subscription in self._followers("programNotification", account.owner, commitment):
                if subscription.matches(account):
                    self._notify_of_account(subscription, slot, account, address)

    def _notify_of_account(
        self, subscription: Subscription, slot: int, account: Account, address: Pubkey | None
    ) -> None:
        try:
            value = account_json(account, subscription.accounts.encoding, subscription.accounts.data_slice)
        except RpcError:  # it has grown too long for base58
            value = account_json(account, "base64", subscription.accounts.data_slice)
        shown = value if address is None else {"pubkey": str(address), "account": value}
        self._notify((subscription,), {"context": context(slot), "value": shown})

    def _followers(self, method: str, key: Hashable, commitment: Commitment) -> list[Subscription]:
        return list(self._by_topic.get(Topic(method, key, commitment), {}).values())

    def _notify(self, followers: Iterable[Subscription], result: Any) -> None:
        for subscription in followers:
            subscription.client.send(
                msgspec.json.encode(
                    {
                        "jsonrpc": "2.0",
                        "method": subscription.topic.method,
                        "params": {"result": result, "subscription": subscription.number},
                    }
                )
            )
