"""What the backend authority decides from, and the transactions that it signs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from asyncpg import Connection
from msgspec import Struct
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.assemble import compute_budget, sign
from zmartd.chain.failures import explain_failure
from zmartd.chain.program_accounts import ChainMarket, decode_market, read_config
from zmartd.chain.signed_transactions import SignedTransaction, TransactionFailed
from zmartd.chain.wire import UndecodableData
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.fetch import TransactionNotFound, TransactionUnread
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.tasks.base import TaskSkipped
from zmartd.tasks.context import TaskContext
from zmartd.tasks.meant import Meant, instructions_of, owner_of, packed
from zmartd.transactions.budget import Budgets
from zmartd.transactions.submission import OtherUnderWay, Recording, Submission

log = get_logger(__name__)

UNREADABLE: Final = Counter(
    "zmartd_task_unreadable_markets",
    "Times that a market's account could not be decoded, so that it was left out.",
)

TRANSACTIONS_AT_ONCE: Final = 4


class NoAuthority(TaskSkipped):
    """The daemon has no authority key: set solana.authority_keypair_path or solana.authority_secret_key."""

    code = "no_authority"


class WrongAuthority(ZmartdError):
    """The daemon's key is not the program's backend authority: the program would reject what it signs."""

    code = "wrong_authority"


class MarketAccountMissing(ZmartdError):
    """The chain has no such market that this daemon can read: check solana.program_id and solana.rpc_url."""

    code = "market_account_missing"


class ProtocolState(Struct, frozen=True):
    """The program's configuration, and the chain's time in unix seconds: the basis of a run's decisions."""

    config: GlobalConfig
    now: int

    @property
    def time(self) -> datetime:
        """The chain's time as a datetime in UTC, to compare with the database's."""
        return self.before(0)

    def before(self, seconds: int) -> datetime:
        """The time `seconds` before the chain's time."""
        return datetime.fromtimestamp(self.now - seconds, UTC)


class Authority:
    """Reads what the backend authority decides from, and signs and submits its transactions.

    Its methods raise RpcUnavailable, DatabaseUnavailable and the like.
    """

    def __init__(self, context: TaskContext) -> None:
        """Raises NoAuthority when the daemon has no key."""
        keys = [key for key in (context.authority, context.next_authority) if key is not None]
        if not keys:
            raise NoAuthority
        self._keys = {key.pubkey(): key for key in keys}
        self._keypair: Keypair = keys[0]
        """The one that signs: after `protocol` that which the program names."""
        self._rpc = context.rpc
        self._pdas = context.program.pdas
        self._program_id = context.program.program_id
        self._submitter = context.submitter
        self._idl = context.program.idl
        self._failures = context.failures
        self._most_together = context.network_fees.max_markets_per_transaction
        self.budgets = Budgets(context.rpc, context.network_fees)

    @property
    def address(self) -> Pubkey:
        return self._keypair.pubkey()

    async def protocol(self) -> ProtocolState:
        """Raises ProtocolNotInitialized, or WrongAuthority when the program knows another authority."""
        config = await read_config(self._rpc, self._program_id)
        named = self._keys.get(config.backend_authority)
        if named is None:
            raise WrongAuthority(
                f"the daemon's key is {' or '.join(map(str, self._keys))}, the program's backend authority "
                f"is {config.backend_authority}: give the daemon that key",
            )
        self._keypair = named
        return ProtocolState(config, (await self._rpc.chain_time()).unix_timestamp)

    async def markets(self, market_ids: Iterable[str]) -> dict[str, ChainMarket]:
        """Read the accounts of these markets with one request. Those that the chain lacks are left out."""
        addresses = {market_id: self._pdas.market(bytes.fromhex(market_id)) for market_id in market_ids}
        accounts = await self._rpc.accounts(list(addresses.values()))
        found: dict[str, ChainMarket] = {}
        for market_id, account in zip(addresses, accounts, strict=True):
            try:
                market = decode_market(account, self._program_id)
            except UndecodableData as error:
                UNREADABLE.inc()
                self._failures.raised("task.unreadable_market", market_id, error, market_id=market_id)
                continue
            if market is not None:
                found[market_id] = market
        return found

    async def market(self, market_id: str) -> ChainMarket:
        """Raises MarketAccountMissing."""
        found = await self.markets([market_id])
        if market_id not in found:
            raise MarketAccountMissing
        return found[market_id]

    async def send(
        self,
        market: ChainMarket,
        purpose: str,
        instructions: Sequence[Instruction],
        recording: Callable[[Connection, str], Awaitable[None]] | None = None,
    ) -> str:
        """Sign and submit a transaction, and return its signature once it has landed.

        `market` is the account from which the decision was made. Daemons that decide the same at the same
        time, or did before they were killed, submit and await the same transaction. It is simulated first,
        which says how many compute units it asks for. Raises what `recording` raises, TransactionFailed,
        TransactionExpired, or OtherUnderWay: in all these cases the market is unchanged.
        """
        meant = Meant(market, purpose, tuple(instructions))

        async def record(connection: Connection, signatures: Mapping[str, str]) -> None:
            if recording is not None:
                await recording(connection, signatures[market.id])

        proposed: SignedTransaction | None = None
        failure: TransactionFailed | None = None
        try:
            proposed = await self._signed([meant], await self._units([meant]))
        except TransactionFailed as error:
            failure = error  # perhaps because it has just been done
        submission = (await self._submitter.submit_once([meant.intent], proposed, record)).get(market.id)
        if submission is None:
            assert failure is not None, "what was proposed stands, or something else does"
            raise failure
        if isinstance(submission, OtherUnderWay):
            raise submission
        return await self._landed(submission, [market.id])

    async def send_together(
        self, meant: Sequence[Meant], recording: Recording | None = None
    ) -> dict[str, str]:
        """Do what is meant to several markets in as few transactions as it fits, all with one purpose.

        Gives the signatures, by market, of what has landed. Markets that fail in the simulation are left out;
        where another daemon has a transaction for one, that one is awaited. What is not given has to be
        decided anew from the market's account, and sent alone: a failure is one market's.
        """
        limit = asyncio.Semaphore(TRANSACTIONS_AT_ONCE)

        async def send(pack: Sequence[Meant]) -> dict[str, str]:
            async with limit:
                try:
                    return await self._send_pack(pack, recording)
                except ZmartdError as error:
                    log.warning("task.batch_failed", markets=len(pack), reason=error.message)
                    return {}

        packs = await self._packed(meant)
        return {
            market_id: signature
            for landed in await asyncio.gather(*map(send, packs))
            for market_id, signature in landed.items()
        }

    async def _packed(self, meant: Sequence[Meant]) -> list[list[Meant]]:
        """In as few parts as it fits, of which nodes keep all logs, as far as the first of them tells."""
        packs = packed(meant, self.address, self._most_together)
        if packs and len(packs[0]) > 1:
            tried = await self.budgets.tried(instructions_of(packs[0]), self.address)
            if tried.is_truncated and (whole := owner_of(packs[0], tried.logged)):
                return packed(meant, self.address, whole)
        return packs

    async def _send_pack(self, pack: Sequence[Meant], recording: Recording | None) -> dict[str, str]:
        found: dict[str, Submission] = {}
        for fitting, units in await self.fitting(pack):
            left = fitting
            while len(left) > 1:
                proposed = await self._signed(left, units)
                intents = [one.intent for one in left]
                submitted = await self._submitter.submit_once(intents, proposed, recording)
                found.update({key: one for key, one in submitted.items() if isinstance(one, Submission)})
                # Fewer of them ask for no more units.
                left = [one for one in left if one.market.id not in submitted]
        by_signature: dict[str, list[str]] = {}
        for market_id, submission in found.items():
            by_signature.setdefault(submission.signature, []).append(market_id)

        async def landed(market_ids: Sequence[str]) -> dict[str, str]:
            try:
                return dict.fromkeys(market_ids, await self._landed(found[market_ids[0]], market_ids))
            except ZmartdError as error:
                log.warning("task.batch_failed", markets=len(market_ids), reason=error.message)
                return {}

        together = await asyncio.gather(*map(landed, by_signature.values()))
        return {market_id: signature for one in together for market_id, signature in one.items()}

    async def fitting(self, pack: Sequence[Meant]) -> list[tuple[Sequence[Meant], int]]:
        """Those that succeed together, with the compute units to ask for; several parts where one asks for
        too many, or writes more logs than nodes keep. The others are left out.
        """
        left = list(pack)
        while len(left) > 1:
            tried = await self.budgets.tried(instructions_of(left), self.address)
            too_many = tried.was_exhausted or tried.is_truncated
            if too_many or not self.budgets.leaves_a_margin(tried.units):
                half = len(left) // 2
                return await self.fitting(left[:half]) + await self.fitting(left[half:])
            if tried.err is None:
                return [(left, self.budgets.limit(tried.units))]
            if tried.failed_at is None:
                break
            left.pop(owner_of(left, tried.failed_at))
        return []

    async def _units(self, meant: Sequence[Meant]) -> int:
        """The compute units to ask for. Raises TransactionFailed for what would fail."""
        tried = await self.budgets.tried(instructions_of(meant), self.address)
        if tried.err is not None:
            raise TransactionFailed(None, explain_failure(tried.err, tried.logs, self._idl))
        return self.budgets.limit(tried.units)

    async def _signed(self, meant: Sequence[Meant], units: int) -> SignedTransaction:
        """A transaction for all of these, at today's price."""
        instructions = instructions_of(meant)
        expired = await self._submitter.expired_before([one.intent for one in meant])
        price = await self.budgets.price(instructions, units, expired)
        latest = await self._rpc.latest_blockhash()
        signed = sign(
            [*compute_budget(units, price), *instructions],
            self._keypair,
            latest.blockhash,
            latest.last_valid_block_height,
            meant[0].purpose,
        )
        await reached(Point.AUTHORITY_SIGNED)
        return signed

    async def _landed(self, submission: Submission, market_ids: Sequence[str]) -> str:
        """Its signature, once it has landed and is indexed if the node gives it."""
        await submission.landed()
        try:
            await submission.indexed()
        except (TransactionNotFound, TransactionUnread):
            # Confirmed, but the node that answers does not give it: a webhook or the reconciler brings it.
            log.warning("task.not_indexed_yet", markets=market_ids, signature=submission.signature)
        return submission.signature
