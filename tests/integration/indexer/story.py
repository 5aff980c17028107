"""Whole lives of markets as the program would tell them, with the numbers it would arrive at."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from based58 import b58encode
from solders.pubkey import Pubkey

from zmartd.chain import events
from zmartd.chain.answers import ChainTime
from zmartd.chain.arguments import DisputeCount, MarketCreation
from zmartd.chain.events import ProgramEvent
from zmartd.chain.payments import ResolverPayment
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, EventRecord
from zmartd.market import fees, lmsr

PROGRAM = Pubkey.from_string("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")
GENESIS_TIME = 1_800_000_000
INITIAL_LIQUIDITY = 10**9
B = 500 * lmsr.SCALE


async def present() -> ChainTime:
    """How far the chain is that tells the stories: after all of them."""
    return ChainTime(5_000, GENESIS_TIME + 5_000)


@dataclass
class Story:
    """Tells the life of one market; `transactions` is what happened, the other fields where it led."""

    seed: int
    slot: int = 1_000
    transactions: list[ChainTransaction] = field(default_factory=list)
    volume: int = 0
    liquidity: int = INITIAL_LIQUIDITY
    fees: list[int] = field(default_factory=lambda: [0, 0, 0])
    invested: dict[Pubkey, int] = field(default_factory=dict)
    held: dict[tuple[Pubkey, bool], int] = field(default_factory=dict)
    rates: tuple[int, int, int] = (300, 200, 500)
    claimed: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.market_id = self.random.randbytes(32)
        self.creator, self.authority = self.wallet(), self.wallet()
        self.traders = [self.wallet() for _ in range(4)]
        self.market = Pdas(PROGRAM).market(self.market_id)
        self.q = {True: B // 1000, False: B // 1000}

    def wallet(self) -> Pubkey:
        return Pubkey.from_bytes(self.random.randbytes(32))

    @property
    def now(self) -> int:
        return GENESIS_TIME + self.slot

    def tell(
        self,
        *said: ProgramEvent,
        creations: tuple[MarketCreation, ...] = (),
        counts: tuple[DisputeCount, ...] = (),
        payments: tuple[ResolverPayment, ...] = (),
        slots: int = 1,
    ) -> None:
        """One transaction, `slots` after the one before."""
        self.slot += slots
        self.transactions.append(
            ChainTransaction(
                signature=b58encode(self.random.randbytes(64)).decode(),
                slot=self.slot,
                block_time=self.now,
                index_in_block=None,
                succeeded=True,
                error=None,
                events=tuple(EventRecord(ordinal, event) for ordinal, event in enumerate(said)),
                quarantined=(),
                creations=creations,
                dispute_counts=counts,
                resolver_payments=payments,
                logs_truncated=False,
            )
        )

    def create(self) -> None:
        creation = MarketCreation(
            self.market_id, self.market, self.creator, B, INITIAL_LIQUIDITY, "Qm" + "a" * 44
        )
        created = events.MarketCreated(self.market_id, self.creator, B, 0, self.now)
        self.tell(created, creations=(creation,))

    def open_for_trading(self) -> None:
        for index, trader in enumerate(self.traders):
            self.tell(events.ProposalVoteSubmitted(self.market_id, trader, index != 3, self.now))
        self.tell(
            events.ProposalAggregated(self.market_id, 3, 1, 75, True, self.now),
            events.ProposalApproved(self.market_id, self.authority, self.now),
        )
        self.tell(events.MarketActivated(self.market_id, self.creator, INITIAL_LIQUIDITY, self.now))

    def trade(self, count: int) -> None:
        """`count` trades by random wallets; some share a slot, some a transaction."""
        while count:
            batch: list[ProgramEvent] = []
            for _ in range(min(count, self.random.choice([1, 1, 1, 2]))):
                batch.append(self._buy() if self.random.random() < 0.65 else self._sell() or self._buy())
                count -= 1
            self.tell(*batch, slots=self.random.choice([0, 1, 1, 3]))

    def resolve(self, outcome: bool) -> None:
        self.outcome = outcome
        self.tell(events.MarketResolved(self.market_id, self.creator, outcome, b"Qm" + b"e" * 44, self.now))

    def dispute(self) -> None:
        self.tell(events.DisputeInitiated(self.market_id, self.traders[0], self.outcome, self.now))
        for trader in self.traders:
            self.tell(events.DisputeVoteSubmitted(self.market_id, trader, True, self.now))

    def finalize(self, outcome: bool | None, disputed: bool) -> None:
        counts = (DisputeCount(self.market, 3, 1),) if disputed else ()
        self.tell(
            events.MarketFinalized(self.market_id, outcome, disputed, self.now), counts=counts, slots=500
        )

    def claim(self, outcome: bool) -> None:
        unpaid = self.fees[1]
        for trader in self.traders:
            shares = self.held.get((trader, outcome), 0)
            if shares:
                amount = shares * self.liquidity // self.q[outcome]
                self.claimed += amount
                claim = events.WinningsClaimed(self.market, trader, outcome, amount, self.now)
                # The first claim pays the resolver all there is.
                payments = (ResolverPayment(self.market, unpaid),) if unpaid else ()
                self.tell(claim, payments=payments)
                unpaid = 0

    def withdraw(self) -> None:
        self.tell(events.LiquidityWithdrawn(self.market_id, self.creator, 123_456, self.now))

    def change_fees(self, protocol: int, resolver: int, lp: int) -> None:
        self.rates = (protocol, resolver, lp)
        self.tell(events.ConfigUpdated(protocol, resolver, lp, 7_000, 6_000, 86_400, 259_200, self.now))
        self.slot += 1

    def _buy(self) -> ProgramEvent:
        trader, outcome = self.random.choice(self.traders), self.random.random() < 0.5
        cost, shares = lmsr.quote_buy(
            self.q[True], self.q[False], B, outcome, self.random.randint(10**6, 10**10)
        )
        self.q[outcome] += shares
        self.held[trader, outcome] = self.held.get((trader, outcome), 0) + shares
        paid = cost + self._charge(cost)
        self.volume += paid
        self.liquidity += cost
        self.invested[trader] = self.invested.get(trader, 0) + paid
        return events.SharesBought(self.market_id, trader, outcome, shares, paid, self._price(), self.now)

    def _sell(self) -> ProgramEvent | None:
        holdings = [(key, shares) for key, shares in self.held.items() if shares > 10**8]
        if not holdings:
            return None
        (trader, outcome), held = self.random.choice(holdings)
        shares = self.random.randint(held // 10, held)
        proceeds = lmsr.quote_sell(self.q[True], self.q[False], B, outcome, shares)
        self.q[outcome] -= shares
        self.held[trader, outcome] -= shares
        net = proceeds - self._charge(proceeds)
        self.volume += proceeds
        self.liquidity -= proceeds
        return events.SharesSold(self.market_id, trader, outcome, shares, net, self._price(), self.now)

    def _charge(self, amount: int) -> int:
        *parts, total = fees.split(amount, *self.rates)
        self.fees = [sum(pair) for pair in zip(self.fees, parts, strict=True)]
        return total

    def _price(self) -> int:
        return lmsr.price_yes(self.q[True], self.q[False], B)


def whole_life(seed: int, trades: int = 40) -> Story:
    """From the proposal through two fee schedules and a dispute that flips the outcome to the last claim."""
    story = Story(seed)
    story.create()
    story.open_for_trading()
    story.trade(trades // 2)
    story.change_fees(100, 50, 25)
    story.trade(trades - trades // 2)
    story.resolve(False)
    story.dispute()
    story.finalize(True, disputed=True)
    story.claim(True)
    story.withdraw()
    return story
