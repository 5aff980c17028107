"""What the backend authority decides from, and the transactions that it signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.assemble import sign
from zmartd.chain.program_accounts import ChainMarket, decode_market, read_config
from zmartd.chain.wire import UndecodableData
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.fetch import TransactionNotFound, TransactionUnread
from zmartd.log import get_logger
from zmartd.tasks.base import TaskSkipped
from zmartd.tasks.context import TaskContext
from zmartd.transactions.submission import Recording

log = get_logger(__name__)


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
        if context.authority is None:
            raise NoAuthority
        self._keypair: Keypair = context.authority
        self._rpc = context.rpc
        self._pdas = context.program.pdas
        self._program_id = context.program.program_id
        self._submitter = context.submitter

    @property
    def address(self) -> Pubkey:
        return self._keypair.pubkey()

    async def protocol(self) -> ProtocolState:
        """Raises ProtocolNotInitialized, or WrongAuthority when the program knows another authority."""
        config = await read_config(self._rpc, self._program_id)
        if config.backend_authority != self.address:
            raise WrongAuthority(
                f"the daemon's key is {self.address}, the program's backend authority is "
                f"{config.backend_authority}: give the daemon that key",
            )
        return ProtocolState(config, (await self._rpc.chain_time()).unix_timestamp)

    async def markets(self, market_ids: Iterable[str]) -> dict[str, ChainMarket]:
        """Read the accounts of these markets with one request. Those that the chain lacks are left out."""
        addresses = {market_id: self._pdas.market(bytes.fromhex(market_id)) for market_id in market_ids}
        accounts = await self._rpc.accounts(list(addresses.values()))
        found: dict[str, ChainMarket] = {}
        for market_id, account in zip(addresses, accounts, strict=True):
            try:
                market = decode_market(account, self._program_id)
            except UndecodableData:
                log.exception("task.unreadable_market", market_id=market_id)
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
        recording: Recording | None = None,
    ) -> str:
        """Sign and submit a transaction, and return its signature once it has landed.

        `market` is the account from which the decision was made. Daemons that decide the same at the same
        time, or did before they were killed, submit and await the same transaction. Raises what `recording`
        raises, and TransactionFailed or TransactionExpired: in all these cases the market is unchanged.
        """
        latest = await self._rpc.latest_blockhash()
        proposed = sign(
            instructions, self._keypair, latest.blockhash, latest.last_valid_block_height, purpose
        )
        await reached(Point.AUTHORITY_SIGNED)
        submission = await self._submitter.submit_once(market.id, proposed, market.slot, recording)
        await submission.landed()
        try:
            await submission.indexed()
        except (TransactionNotFound, TransactionUnread):
            # Confirmed, but the node that answers does not give it: a webhook or the reconciler brings it.
            log.warning("task.not_indexed_yet", market_id=market.id, signature=submission.signature)
        return submission.signature
