"""Posts confirmed transactions to webhooks, as Helius raw webhooks.

Like those, a delivery is tried four times, a second apart, and then lost. Deliveries are not ordered, and
those under way when the process ends are lost.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import aiohttp
import msgspec
from aiohttp import AddrInfoType
from solders.pubkey import Pubkey

from zmartd.clock import Clock
from zmartd.embedded.localnet.chain.observer import CompletedBlock
from zmartd.embedded.localnet.chain.records import LandedTransaction
from zmartd.embedded.localnet.encoding import transaction_json, version_json
from zmartd.embedded.localnet.faults import FaultPlan
from zmartd.embedded.localnet.settings import WebhookTarget
from zmartd.endpoint import is_loopback, is_loopback_url
from zmartd.log import get_logger

RETRIES = 3
RETRY_SECONDS = 1.0
ANSWER_SECONDS = 5.0
MAX_TRANSACTIONS_PER_DELIVERY = 20
MAX_PENDING = 10_000
MAX_CONNECTIONS = 8
_NEWEST_VERSION = 0
_NOT_RETRIED = frozenset((403,))

log = get_logger(__name__)


class _Target:
    """A webhook. Raises ValueError when its URL is on another machine, or an account is not an address."""

    def __init__(self, settings: WebhookTarget) -> None:
        if not is_loopback_url(settings.url):
            raise ValueError("url: expected http://127.0.0.1:PORT/PATH, or another loopback address")
        self.url = settings.url
        self.headers = {"Content-Type": "application/json"}
        if settings.authorization is not None:
            self.headers["Authorization"] = settings.authorization
        try:
            self._accounts = frozenset(map(Pubkey.from_string, settings.accounts))
        except ValueError as error:
            raise ValueError(f"accounts: {error}") from None

    def matches(self, transaction: LandedTransaction) -> bool:
        return not self._accounts.isdisjoint(transaction.keys)


class Webhooks:
    """Posts to webhooks; an observer of the bank, and an async context manager."""

    def __init__(self, targets: Iterable[WebhookTarget], faults: FaultPlan, clock: Clock) -> None:
        """Raises ValueError when a target is on another machine, or its account is not an address."""
        self._targets = {target: _Target(target) for target in targets}
        self._faults = faults
        self._clock = clock
        self._deliveries: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Webhooks:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, socket_factory=loopback_socket),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for delivery in list(self._deliveries):
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        assert self._session is not None
        await self._session.close()

    def add(self, target: WebhookTarget) -> None:
        """Deliver to `target` from now on. Raises ValueError as the constructor does."""
        self._targets[target] = _Target(target)

    def remove(self, url: str) -> int:
        """Stop delivering to `url`; how many targets had it."""
        gone = [target for target in self._targets if target.url == url]
        for target in gone:
            del self._targets[target]
        return len(gone)

    # Observer

    def landed(self, transaction: LandedTransaction) -> None:
        pass

    def accounts_written(self, addresses: frozenset[Pubkey]) -> None:
        pass

    def confirmed(self, completed: CompletedBlock) -> None:
        if not completed.transactions:
            return
        for target in self._targets.values():
            wanted = [transaction for transaction in completed.transactions if target.matches(transaction)]
            for group in self._groups(wanted):
                self._dispatch(target, group)

    def finalized(self, completed: CompletedBlock) -> None:
        pass

    # Deliveries

    def _groups(self, transactions: Sequence[LandedTransaction]) -> Iterator[Sequence[LandedTransaction]]:
        size = 1 if self._faults.touches_webhooks else MAX_TRANSACTIONS_PER_DELIVERY
        for start in range(0, len(transactions), size):
            yield transactions[start : start + size]

    def _dispatch(self, target: _Target, group: Sequence[LandedTransaction]) -> None:
        body = msgspec.json.encode([raw_webhook_json(transaction) for transaction in group])
        for delay_seconds in self._faults.delivery_delays():
            if len(self._deliveries) >= MAX_PENDING:
                log.warning("localnet.webhook_lost", url=target.url, reason="too many deliveries are waiting")
                return
            delivery = asyncio.create_task(
                self._deliver(target, body, delay_seconds), name="localnet-webhook"
            )
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, target: _Target, body: bytes, delay_seconds: float) -> None:
        await self._clock.sleep(delay_seconds)
        outcome = ""
        for attempt in range(1 + RETRIES):
            if attempt:
                await self._clock.sleep(RETRY_SECONDS)
            outcome, is_final = await self._post(target, body)
            if is_final:
                break
        if outcome:
            log.warning("localnet.webhook_lost", url=target.url, reason=outcome)

    async def _post(self, target: _Target, body: bytes) -> tuple[str, bool]:
        """The reason of a failure, or ""; and whether not to try again."""
        assert self._session is not None
        try:
            # A redirection could lead to another machine.
            async with self._session.post(
                target.url, data=body, headers=target.headers, allow_redirects=False
            ) as response:
                if response.status < 300:
                    return "", True
                return f"answered {response.status}", response.status in _NOT_RETRIED
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__, False


def loopback_socket(destination: AddrInfoType) -> socket.socket:
    """A socket for a connection to `destination`. Raises OSError when that is another machine: a host name
    can resolve to another address each time.
    """
    family, kind, protocol, _, address = destination
    if not is_loopback(str(address[0])):
        raise OSError(errno.EACCES, "webhooks go to this machine only")
    return socket.socket(family, kind, protocol)


def raw_webhook_json(transaction: LandedTransaction) -> dict[str, Any]:
    """One element of a raw webhook's body: the result of `getTransaction` with `indexWithinBlock`."""
    return transaction_json(transaction, "json", _NEWEST_VERSION) | {
        "indexWithinBlock": transaction.index_in_block,
        "version": version_json(transaction.transaction),
    }
