"""The Solana JSON-RPC methods that zmartd uses, typed.

Everything is read at commitment `confirmed` unless said otherwise. Each method raises RpcUnavailable when the
node does not answer in time, and RpcRejected when it refuses the request.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Self, TypeVar

from solders.account_decoder import UiAccountEncoding, UiDataSliceConfig
from solders.commitment_config import CommitmentLevel
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.rpc import config as configs
from solders.rpc import requests
from solders.rpc.filter import Memcmp
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_status import UiTransactionEncoding

from zmartd.chain.answers import (
    AccountAnswer,
    AtSlot,
    BlockhashAnswer,
    ChainAccount,
    ChainPosition,
    ChainTime,
    KeyedAccountAnswer,
    LatestBlockhash,
    PrioritizationFee,
    SignatureInfo,
    SignatureStatus,
    SignatureStatuses,
    SimulationResult,
    VersionAnswer,
    WithContext,
)
from zmartd.chain.raw import NEWEST_VERSION
from zmartd.chain.requests import GetRecentPrioritizationFees
from zmartd.chain.transport import INVALID_PARAMS, RpcRejected, RpcUnavailable, Share, Transport
from zmartd.clock import Clock
from zmartd.market import ids

ACCOUNTS_PER_REQUEST = 100
BALANCE_READINGS = 8
STATUSES_PER_REQUEST = 256
MAX_SIGNATURES_PER_REQUEST = 1_000
PREFLIGHT_FAILED = -32002
BLOCKHASH_MAX_AGE_SECONDS = 1.0

MAX_PRIORITIZED_ACCOUNTS = 128

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
_CLOCK = struct.Struct("<QqQQq")
_CONFIRMED = CommitmentLevel.Confirmed
_BASE64 = configs.RpcAccountInfoConfig(encoding=UiAccountEncoding.Base64, commitment=_CONFIRMED)
_NO_DATA = configs.RpcAccountInfoConfig(
    encoding=UiAccountEncoding.Base64, data_slice=UiDataSliceConfig(0, 0), commitment=_CONFIRMED
)

T = TypeVar("T")


class Rpc:
    """One Solana node. `async with Rpc(url, clock=...) as rpc:` closes its connections at the end."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        timeout_seconds: float = 15.0,
        rng: random.Random | None = None,
    ) -> None:
        """`timeout_seconds` bounds each call, its further attempts included; `rng` spreads these."""
        self._clock = clock
        rng = rng or random.Random()  # noqa: S311 - it spreads retries and keeps no secret
        self._connection = Transport(url, clock=clock, rng=rng, timeout_seconds=timeout_seconds)
        self._transport: Transport | Share = self._connection
        self._blockhash: tuple[float, LatestBlockhash] | None = None
        self._blockhash_turn = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        """Where it is, without path and query, which may hold a key."""
        return self._transport.endpoint

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    def share(self, places: int) -> Rpc:
        """The same node over the same connections, for callers that get so many places at most."""
        part = copy(self)
        part._transport = Share(self._connection, places)
        part._blockhash, part._blockhash_turn = None, asyncio.Lock()
        return part

    def lead_to(self, url: str) -> None:
        """Send what is asked from now on to another URL, also what is asked over shares."""
        self._connection.lead_to(url)

    async def health(self) -> str:
        """`ok`; a node that is behind is RpcUnavailable."""
        return await self._transport.call(requests.GetHealth(), str)

    async def version(self) -> str:
        """The node's software version."""
        return (await self._transport.call(requests.GetVersion(), VersionAnswer)).solana_core

    async def genesis_hash(self) -> str:
        """Which cluster this is."""
        return await self._transport.call(requests.GetGenesisHash(), str)

    async def slot(self, commitment: CommitmentLevel = _CONFIRMED) -> int:
        return await self._transport.call(requests.GetSlot(configs.RpcContextConfig(commitment)), int)

    async def first_available_block(self) -> int:
        """The oldest slot whose transactions the node still has."""
        return await self._transport.call(requests.GetFirstAvailableBlock(), int)

    async def block_height(self, commitment: CommitmentLevel = _CONFIRMED) -> int:
        return await self._transport.call(requests.GetBlockHeight(configs.RpcContextConfig(commitment)), int)

    async def position(self, commitment: CommitmentLevel = _CONFIRMED) -> ChainPosition:
        """Slot and block height of the same moment."""
        body = requests.GetEpochInfo(configs.RpcContextConfig(commitment))
        return await self._transport.call(body, ChainPosition)

    async def block_time(self, slot: int) -> int | None:
        """Unix seconds of the block in `slot`, None where the node does not know it."""
        body = requests.GetBlockTime(slot)
        return await self._transport.call(body, int | None)  # type: ignore[arg-type]  # a union is no type[T]

    async def chain_time(self) -> ChainTime:
        """The time that programs see, from the Clock sysvar: every deadline is computed from it."""
        account = await self.account(CLOCK_SYSVAR)
        if account is None or len(account.data) < _CLOCK.size:
            raise RpcUnavailable(f"the Solana RPC at {self.endpoint} has no Clock sysvar; check its version")
        slot, _, _, _, unix_timestamp = _CLOCK.unpack_from(account.data)
        return ChainTime(slot, unix_timestamp)

    async def latest_blockhash(self) -> LatestBlockhash:
        """A blockhash to build transactions with, at most BLOCKHASH_MAX_AGE_SECONDS old."""
        async with self._blockhash_turn:
            now = self._clock.monotonic()
            if self._blockhash is not None and now - self._blockhash[0] < BLOCKHASH_MAX_AGE_SECONDS:
                return self._blockhash[1]
            body = requests.GetLatestBlockhash(configs.RpcContextConfig(_CONFIRMED))
            answer = (await self._transport.call(body, WithContext[BlockhashAnswer])).value
            latest = LatestBlockhash(Hash.from_string(answer.blockhash), answer.last_valid_block_height)
            self._blockhash = now, latest
            return latest

    async def prioritization_fees(self, addresses: Sequence[Pubkey]) -> list[int]:
        """What a transaction that writes these accounts had to offer in each recent block, unsorted.

        In micro-lamports per compute unit: the lowest price that landed. Of more than
        MAX_PRIORITIZED_ACCOUNTS the first are asked about.
        """
        body = GetRecentPrioritizationFees(addresses[:MAX_PRIORITIZED_ACCOUNTS])
        fees = await self._transport.call(body, list[PrioritizationFee])
        return [one.prioritization_fee for one in fees]

    async def account(self, address: Pubkey) -> ChainAccount | None:
        """None where nothing exists at `address`."""
        (account,) = await self.accounts([address])
        return account

    async def accounts(self, addresses: Sequence[Pubkey]) -> list[ChainAccount | None]:
        """The accounts in the order of `addresses`, in requests of ACCOUNTS_PER_REQUEST."""
        return (await self.accounts_at(addresses)).value

    async def accounts_at(self, addresses: Sequence[Pubkey]) -> AtSlot[list[ChainAccount | None]]:
        """`accounts` with their slot, which also says of what is not there when it was not. At least one."""
        found: list[ChainAccount | None] = []
        slots: list[int] = []
        for chunk in _chunks(addresses, ACCOUNTS_PER_REQUEST):
            body = requests.GetMultipleAccounts(chunk, _BASE64)
            answer = await self._transport.call(body, WithContext[list[AccountAnswer | None]])
            found += [
                None if account is None else account.at(address, answer.context.slot)
                for address, account in zip(chunk, answer.value, strict=True)
            ]
            slots.append(answer.context.slot)
        return AtSlot(min(slots, default=0), found)

    async def balances_at_once(self, wallets: Sequence[Pubkey]) -> dict[Pubkey, int]:
        """Lamports of each wallet, all at one slot, so that coins on the move are not counted twice.

        Wallets of one request are of one slot. More than ACCOUNTS_PER_REQUEST take several, sent at once and
        again where they were answered for different slots. If no reading of BALANCE_READINGS is of one slot,
        the wallets of the slot that most were answered for are given, and the others are left out.
        """
        chunks = list(_chunks(wallets, ACCOUNTS_PER_REQUEST))
        most: dict[Pubkey, int] = {}
        for _ in range(BALANCE_READINGS):
            by_slot: dict[int, dict[Pubkey, int]] = {}
            for slot, balances in await asyncio.gather(*(self._balances(chunk) for chunk in chunks)):
                by_slot.setdefault(slot, {}).update(balances)
            most = max((most, *by_slot.values()), key=len)
            if len(by_slot) <= 1:
                break
        return most

    async def _balances(self, wallets: Sequence[Pubkey]) -> tuple[int, dict[Pubkey, int]]:
        body = requests.GetMultipleAccounts(wallets, _NO_DATA)
        answer = await self._transport.call(body, WithContext[list[AccountAnswer | None]])
        lamports = [0 if account is None else account.lamports for account in answer.value]
        return answer.context.slot, dict(zip(wallets, lamports, strict=True))

    async def program_accounts(
        self, program_id: Pubkey, content: Mapping[int, bytes] | None = None
    ) -> list[ChainAccount]:
        """The accounts that a program owns, all of one slot.

        `content` maps offsets to the bytes that must be there, for example {0: an account's discriminator}.
        """
        return (await self.program_accounts_at(program_id, content)).value

    async def program_accounts_at(
        self, program_id: Pubkey, content: Mapping[int, bytes] | None = None
    ) -> AtSlot[list[ChainAccount]]:
        """`program_accounts` with their slot, also where there are none."""
        return await self._accounts_of(program_id, content, _BASE64)

    async def program_addresses(
        self, program_id: Pubkey, content: Mapping[int, bytes] | None = None
    ) -> list[Pubkey]:
        """The addresses of the accounts that `program_accounts` would give, without their data."""
        found = await self._accounts_of(program_id, content, _NO_DATA)
        return [account.address for account in found.value]

    async def _accounts_of(
        self, program_id: Pubkey, content: Mapping[int, bytes] | None, shape: configs.RpcAccountInfoConfig
    ) -> AtSlot[list[ChainAccount]]:
        filters: list[int | Memcmp] = [
            Memcmp(offset, ids.base58_encode(wanted)) for offset, wanted in (content or {}).items()
        ]
        config = configs.RpcProgramAccountsConfig(shape, filters, with_context=True)
        body = requests.GetProgramAccounts(program_id, config)
        answer = await self._transport.call(body, WithContext[list[KeyedAccountAnswer]])
        slot = answer.context.slot
        return AtSlot(slot, [item.account.at(Pubkey.from_string(item.pubkey), slot) for item in answer.value])

    async def signature_statuses(
        self, signatures: Sequence[str], *, search_history: bool = False
    ) -> SignatureStatuses:
        """What the node knows of each signature, in requests of STATUSES_PER_REQUEST.

        Without `search_history` only the last few minutes are looked at. Statuses are of any commitment.
        """
        statuses: dict[str, SignatureStatus | None] = {}
        slots: list[int] = []
        for chunk in _chunks(signatures, STATUSES_PER_REQUEST):
            body = requests.GetSignatureStatuses(
                [Signature.from_string(signature) for signature in chunk],
                configs.RpcSignatureStatusConfig(search_history),
            )
            answer = await self._transport.call(body, WithContext[list[SignatureStatus | None]])
            statuses.update(zip(chunk, answer.value, strict=True))
            slots.append(answer.context.slot)
        return SignatureStatuses(min(slots, default=0), statuses)

    async def transaction(self, signature: str) -> dict[str, Any] | None:
        """A confirmed transaction as raw JSON, for `parse_transaction`; None where the node has none.

        Also raises RpcUnusable, or RpcRejected, where the node answers and yet does not give this one.
        """
        try:
            return await self._transaction(signature, NEWEST_VERSION)
        except RpcRejected as error:
            if error.rpc_code != INVALID_PARAMS:
                raise
            # A node that does not know the newest version may refuse to hear of it.
            return await self._transaction(signature, NEWEST_VERSION - 1)

    async def _transaction(self, signature: str, newest_version: int) -> dict[str, Any] | None:
        config = configs.RpcTransactionConfig(UiTransactionEncoding.Json, _CONFIRMED, newest_version)
        body = requests.GetTransaction(Signature.from_string(signature), config)
        return await self._transport.call(body, dict[str, Any] | None)  # type: ignore[arg-type]  # a union

    async def signatures_for_address(
        self,
        address: Pubkey,
        *,
        before: str | None = None,
        until: str | None = None,
        limit: int = MAX_SIGNATURES_PER_REQUEST,
    ) -> list[SignatureInfo]:
        """Transactions that mention `address`, newest first: older than `before`, newer than `until`."""
        config = configs.RpcSignaturesForAddressConfig(
            before=None if before is None else Signature.from_string(before),
            until=None if until is None else Signature.from_string(until),
            limit=limit,
            commitment=_CONFIRMED,
        )
        body = requests.GetSignaturesForAddress(address, config)
        return await self._transport.call(body, list[SignatureInfo])

    async def send(self, wire: bytes) -> str:
        """Send a signed transaction after the node has simulated it; gives its signature.

        A failed simulation is RpcRejected with code PREFLIGHT_FAILED and `data` {err, logs, ...}: the node
        has not passed the transaction on. The node itself does not send again; the Sender does.
        """
        config = configs.RpcSendTransactionConfig(preflight_commitment=_CONFIRMED, max_retries=0)
        return await self._transport.call(requests.SendRawTransaction(wire, config), str)

    async def broadcast(self, wire: bytes) -> str:
        """Send a signed transaction without simulating it, which would fail where it has landed already."""
        config = configs.RpcSendTransactionConfig(skip_preflight=True, max_retries=0)
        return await self._transport.call(requests.SendRawTransaction(wire, config), str)

    async def preflight(self, wire: bytes) -> SimulationResult:
        """What a signed transaction would do on the node's newest state, with the signature and the blockhash
        that it has. Nothing is sent; sending it with `broadcast` then costs no second simulation.
        """
        config = configs.RpcSimulateTransactionConfig(
            sig_verify=True, replace_recent_blockhash=False, commitment=CommitmentLevel.Processed
        )
        return await self._simulated(wire, config)

    async def simulate(self, wire: bytes) -> SimulationResult:
        """What a transaction would do now. It need not be signed, and its blockhash does not matter."""
        config = configs.RpcSimulateTransactionConfig(
            sig_verify=False, replace_recent_blockhash=True, commitment=_CONFIRMED
        )
        return await self._simulated(wire, config)

    async def _simulated(self, wire: bytes, config: configs.RpcSimulateTransactionConfig) -> SimulationResult:
        body = requests.SimulateVersionedTransaction(VersionedTransaction.from_bytes(wire), config)
        return (await self._transport.call(body, WithContext[SimulationResult])).value


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
