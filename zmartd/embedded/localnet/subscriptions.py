"""Who wants to be told what over a WebSocket, and telling them at the commitment they asked for."""

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
from zmartd.embedded.localnet.chain.observer import Content
from zmartd.embedded.localnet.chain.records import Landed
from zmartd.embedded.localnet.encoding import account_json
from zmartd.embedded.localnet.errors import InvalidRequest, RpcError
from zmartd.embedded.localnet.params import AccountConfig
from zmartd.embedded.localnet.response_context import context

MAX_PER_CLIENT = 1_000
EVERY_TRANSACTION = "all"
_PLAIN = AccountConfig()


class Client(Protocol):
    """The far end of a WebSocket."""

    def send(self, payload: bytes) -> None:
        """Queue a text frame. Must not block or raise."""


class Topic(Struct, frozen=True):
    """What a subscription listens to."""

    method: str
    """Of its notifications: `accountNotification` and so on."""
    key: Hashable
    """An address, a signature, EVERY_TRANSACTION, or None where there is nothing to choose."""
    commitment: Commitment = Commitment.PROCESSED


class Subscription(Struct, frozen=True, eq=False):
    number: int
    client: Client
    topic: Topic
    accounts: AccountConfig
    """How accounts are to be encoded."""
    matches: AccountFilter


class Subscriptions:
    """All subscriptions of all clients; an observer of the bank."""

    def __init__(self, bank: Bank, call_soon: Callable[..., object]) -> None:
        """`call_soon` runs a function after the present call: answers go out before notifications."""
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
    ) -> int:
        """The subscription's number. Raises InvalidRequest when the client has too many."""
        if len(self._by_client[client]) >= MAX_PER_CLIENT:
            raise InvalidRequest(f"a connection has at most {MAX_PER_CLIENT} subscriptions")
        number = next(self._numbers)
        subscription = Subscription(number, client, topic, accounts, matches)
        self._by_topic[topic][number] = subscription
        self._by_client[client][number] = subscription
        if isinstance(topic.key, Signature):
            self._call_soon(self._tell_if_known, topic)
        return number

    def remove(self, client: Client, number: int) -> bool:
        """Whether the client had such a subscription."""
        subscription = self._by_client[client].pop(number, None)
        if subscription is None:
            return False
        followers = self._by_topic[subscription.topic]
        del followers[number]
        if not followers:
            del self._by_topic[subscription.topic]
        return True

    def forget(self, client: Client) -> None:
        """Remove everything of a client that has left."""
        for number in list(self._by_client[client]):
            self.remove(client, number)
        del self._by_client[client]

    # What the bank says

    def landed(self, transaction: Landed) -> None:
        self._tell_transaction(transaction, Commitment.PROCESSED)

    def accounts_written(self, addresses: frozenset[Pubkey]) -> None:
        self._tell_accounts(addresses, Commitment.PROCESSED, self._bank.blocks.opened.slot)

    def confirmed(self, content: Content) -> None:
        self._tell_content(content, Commitment.CONFIRMED)
        blocks = self._bank.blocks
        slots = {"parent": content.block.slot, "slot": blocks.opened.slot, "root": blocks.finalized.slot}
        self._tell(self._followers("slotNotification", None, Commitment.PROCESSED), slots)

    def finalized(self, content: Content) -> None:
        self._tell_content(content, Commitment.FINALIZED)
        self._tell(self._followers("rootNotification", None, Commitment.PROCESSED), content.block.slot)

    # Telling

    def _tell_content(self, content: Content, commitment: Commitment) -> None:
        for transaction in content.transactions:
            self._tell_transaction(transaction, commitment)
        self._tell_accounts(content.changed, commitment, content.block.slot)

    def _tell_transaction(self, transaction: Landed, commitment: Commitment) -> None:
        self._tell_signature(transaction, commitment)
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
            self._tell(followers, {"context": context(transaction.slot), "value": value})

    def _tell_signature(self, transaction: Landed, commitment: Commitment) -> None:
        followers = self._followers("signatureNotification", transaction.signature, commitment)
        self._tell(followers, {"context": context(transaction.slot), "value": {"err": transaction.meta.err}})
        for subscription in followers:  # a signature is told once
            self.remove(subscription.client, subscription.number)

    def _tell_if_known(self, topic: Topic) -> None:
        assert isinstance(topic.key, Signature)
        transaction = self._bank.transaction(topic.key)
        if transaction and self._bank.blocks.commitment_of(transaction.slot) >= topic.commitment:
            self._tell_signature(transaction, topic.commitment)

    def _tell_accounts(self, addresses: Iterable[Pubkey], commitment: Commitment, slot: int) -> None:
        if not self._by_topic:
            return
        for address in addresses:
            account = self._bank.account(address, commitment)
            gone = Account(0, b"", Pubkey.default())
            for subscription in self._followers("accountNotification", address, commitment):
                self._tell_account(subscription, slot, account or gone, None)
            if account is None:
                continue
            for subscription in self._followers("programNotification", account.owner, commitment):
                if subscription.matches(account):
                    self._tell_account(subscription, slot, account, address)

    def _tell_account(
        self, subscription: Subscription, slot: int, account: Account, address: Pubkey | None
    ) -> None:
        try:
            value = account_json(account, subscription.accounts.encoding, subscription.accounts.data_slice)
        except RpcError:  # grown too long for base58 since the client subscribed
            value = account_json(account, "base64", subscription.accounts.data_slice)
        shown = value if address is None else {"pubkey": str(address), "account": value}
        self._tell((subscription,), {"context": context(slot), "value": shown})

    def _followers(self, method: str, key: Hashable, commitment: Commitment) -> list[Subscription]:
        return list(self._by_topic.get(Topic(method, key, commitment), {}).values())

    def _tell(self, followers: Iterable[Subscription], result: Any) -> None:
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
