"""Wallets that do things on the chain, whatever becomes of the daemon."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.chain.assemble import sign
from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.errors import ZmartdError
from zmartd.market.ids import cid_v0
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE

SIZE = 5
VOTES_PER_PROPOSAL = 3
OPEN_MARKETS = 6
"""So many live at a time; a market that has seen enough gives way to a new one."""
TRADES_PER_MARKET = 12
PAUSE_SECONDS = 0.06

_DOCUMENT = cid_v0(b"what a market of the stress rig is about")


def wallets(rng: random.Random, size: int = SIZE) -> list[Keypair]:
    """The same for the same seed."""
    return [Keypair.from_seed(rng.randbytes(32)) for _ in range(size)]


class _Market:
    """What the crowd remembers of a market: the rest is read from the chain."""

    def __init__(self, market_id: bytes, address: Pubkey, creator: Keypair) -> None:
        self.id = market_id
        self.address = address
        self.creator = creator
        self.votes = 0
        self.trades = 0


class Crowd:
    """Proposes, votes, trades, resolves, disputes and claims: one transaction after the other, for ever.

    It does not wait for what it sends to land, and it shrugs off what fails: the chain is the truth.
    """

    def __init__(
        self, rpc: Rpc, program_id: Pubkey, treasury: Pubkey, people: Sequence[Keypair], rng: random.Random
    ) -> None:
        self._rpc = rpc
        self._program = Program(default_idl(str(program_id)), program_id)
        self._treasury = treasury
        self._people = people
        self._rng = rng
        self._markets: list[_Market] = []
        self._resolved: list[_Market] = []
        self._going = asyncio.Event()
        self.sent = 0

    @property
    def trading(self) -> list[str]:
        """The ids of the newest markets, which are likely to be active."""
        return [market.id.hex() for market in self._markets]

    def go(self) -> None:
        self._going.set()

    def rest(self) -> None:
        """Send nothing any more, until told to go."""
        self._going.clear()

    async def live(self) -> None:
        """Never returns."""
        while True:
            await self._going.wait()
            try:
                await self._act()
            except ZmartdError:
                # A node that is out of order, or an account that just changed.
                await asyncio.sleep(PAUSE_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)

    async def propose(self) -> None:
        """A new market with all the votes that it takes, so that the aggregator will approve it."""
        creator = self._rng.choice(self._people)
        market_id = self._rng.randbytes(32)
        market = _Market(market_id, self._program.pdas.market(market_id), creator)
        create = self._program.create_market(
            creator=creator.pubkey(),
            market_id=market_id,
            b_parameter=self._rng.randrange(100, 1_000) * SCALE,
            initial_liquidity=self._rng.randrange(1, 20) * SCALE,
            ipfs_question_hash=_DOCUMENT,
        )
        await self._send(creator, create)
        self._markets = [*self._markets, market][-OPEN_MARKETS:]

    async def _act(self) -> None:
        if len(self._markets) < OPEN_MARKETS or self._rng.random() < 0.05:
            await self.propose()
            return
        over = bool(self._resolved) and self._rng.random() < 0.15
        market = self._rng.choice(self._resolved if over else self._markets)
        found = await self._rpc.account(market.address)
        if found is None:
            # Not landed yet, or on a fork that lost.
            if self._rng.random() < 0.2:
                (self._resolved if over else self._markets).remove(market)
            return
        account = MarketAccount.decode(found.data)
        match account.state:
            case MarketState.PROPOSED if market.votes < VOTES_PER_PROPOSAL:
                await self._vote(market)
            case MarketState.APPROVED:
                activate = self._program.activate_market(
                    authority=market.creator.pubkey(), market=market.address
                )
                await self._send(market.creator, activate)
            case MarketState.ACTIVE if market.trades < TRADES_PER_MARKET:
                await self._trade(market)
            case MarketState.ACTIVE if not over:
                await self._resolve(market)
            case MarketState.RESOLVING if market.votes == VOTES_PER_PROPOSAL and self._rng.random() < 0.3:
                await self._dispute(market)
            case MarketState.DISPUTED:
                await self._vote_on_dispute(market)
            case MarketState.FINALIZED:
                await self._claim(market, account.resolver)
            case _:
                return

    async def _vote(self, market: _Market) -> None:
        voter = self._people[market.votes]
        market.votes += 1
        vote = self._program.submit_proposal_vote(user=voter.pubkey(), market=market.address, vote=True)
        await self._send(voter, vote)

    async def _trade(self, market: _Market) -> None:
        market.trades += 1
        who = self._rng.choice(self._people)
        outcome = self._rng.random() < 0.5
        held = await self._held(market, who, outcome=outcome)
        if held > SCALE and self._rng.random() < 0.4:
            trade = self._program.sell_shares(
                user=who.pubkey(),
                market=market.address,
                protocol_fee_wallet=self._treasury,
                outcome=outcome,
                shares_to_sell=self._rng.randrange(SCALE // 10, held),
                min_proceeds=0,
            )
        else:
            trade = self._program.buy_shares(
                user=who.pubkey(),
                market=market.address,
                protocol_fee_wallet=self._treasury,
                outcome=outcome,
                target_cost=self._rng.randrange(SCALE // 20, 5 * SCALE),
            )
        await self._send(who, trade)

    async def _held(self, market: _Market, who: Keypair, *, outcome: bool) -> int:
        found = await self._rpc.account(self._program.pdas.position(market.address, who.pubkey()))
        if found is None:
            return 0
        position = UserPosition.decode(found.data)
        return position.shares_yes if outcome else position.shares_no

    async def _resolve(self, market: _Market) -> None:
        self._markets.remove(market)
        self._resolved = [*self._resolved, market][-OPEN_MARKETS:]
        resolver = self._rng.choice(self._people)
        resolve = self._program.resolve_market(
            resolver=resolver.pubkey(),
            market=market.address,
            proposed_outcome=self._rng.random() < 0.5,
            ipfs_evidence_hash=_DOCUMENT,
        )
        await self._send(resolver, resolve)

    async def _dispute(self, market: _Market) -> None:
        market.votes = 0
        who = self._rng.choice(self._people)
        await self._send(who, self._program.initiate_dispute(initiator=who.pubkey(), market=market.address))

    async def _vote_on_dispute(self, market: _Market) -> None:
        voter = self._people[market.votes % len(self._people)]
        market.votes += 1
        agrees = self._rng.random() < 0.7
        await self._send(
            voter, self._program.submit_dispute_vote(user=voter.pubkey(), market=market.address, vote=agrees)
        )

    async def _claim(self, market: _Market, resolver: Pubkey) -> None:
        who = self._rng.choice(self._people)
        await self._send(
            who,
            self._program.claim_winnings(user=who.pubkey(), market=market.address, resolver=resolver),
        )

    async def _send(self, signer: Keypair, instruction: Instruction) -> None:
        latest = await self._rpc.latest_blockhash()
        signed = sign([instruction], signer, latest.blockhash, latest.last_valid_block_height, "stress")
        await self._rpc.send(signed.wire)
        self.sent += 1
