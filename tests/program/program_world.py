"""A configured protocol, and markets in every state, each reached by the program's own instructions."""

from __future__ import annotations

from dataclasses import dataclass

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.program.program_chain import PROGRAM, SOL, Chain, Landed
from zmartd.chain.accounts import GlobalConfig, MarketAccount, UserPosition
from zmartd.chain.events import LiquidityWithdrawn, ProgramEvent, SharesBought, SharesSold, WinningsClaimed
from zmartd.market.lifecycle import MarketState

QUESTION_CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG"
EVIDENCE_CID = "QmPZ9gcCEpqKTo6aq61g2nXGUhM4iCL3ewB6LDXZCtioEB"
DISPUTE_PERIOD_SECONDS = 259_200
B = 1_000 * SOL
LIQUIDITY = 500 * SOL


@dataclass(frozen=True)
class Market:
    id: bytes
    address: Pubkey
    creator: Keypair
    resolver: Keypair


class World:
    """`admin` may configure, `backend` reports votes, `treasury` receives the protocol's fees."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.admin, self.backend, self.treasury = (self.chain.wallet() for _ in range(3))
        self.fee_wallet = self.treasury.pubkey()
        self.config = PROGRAM.pdas.global_config()
        self._markets = 0

    def configure(self) -> Landed[ProgramEvent]:
        return self.chain.send(
            PROGRAM.initialize_global_config(
                admin=self.admin.pubkey(),
                protocol_fee_wallet=self.fee_wallet,
                backend_authority=self.backend.pubkey(),
            ),
            self.admin,
        )

    def set_fees(self, protocol_bps: int, resolver_bps: int, lp_bps: int) -> None:
        self.chain.send(
            PROGRAM.update_global_config(
                admin=self.admin.pubkey(),
                protocol_fee_bps=protocol_bps,
                resolver_reward_bps=resolver_bps,
                liquidity_provider_fee_bps=lp_bps,
                proposal_approval_threshold=7000,
                dispute_success_threshold=6000,
            ),
            self.admin,
        )

    def set_fee_wallet(self, address: Pubkey) -> None:
        """What no instruction does: name another wallet for the protocol's fees."""
        config = self.chain.read(GlobalConfig, self.config)
        self.fee_wallet = address
        self.chain.write(self.config, _changed(config, protocol_fee_wallet=address))

    def pause(self) -> Landed[ProgramEvent]:
        return self.chain.send(PROGRAM.emergency_pause(admin=self.admin.pubkey()), self.admin)

    def market(
        self, state: MarketState = MarketState.ACTIVE, *, b: int = B, liquidity: int = LIQUIDITY
    ) -> Market:
        """A market on its way as far as `state`. Finalized ones had YES proposed and no dispute."""
        market = self.propose(b=b, liquidity=liquidity)
        if state == MarketState.CANCELLED:
            self.cancel(market)
        elif state >= MarketState.APPROVED:
            self.approve(market)
        if MarketState.ACTIVE <= state <= MarketState.FINALIZED:
            self.activate(market)
        if MarketState.RESOLVING <= state <= MarketState.FINALIZED:
            self.resolve(market, True)
        if state == MarketState.DISPUTED:
            self.dispute(market)
        if state == MarketState.FINALIZED:
            self.finalize(market)
        assert self.read(market).state == state
        return market

    def propose(self, *, b: int = B, liquidity: int = LIQUIDITY, creator: Keypair | None = None) -> Market:
        self._markets += 1
        market_id = self._markets.to_bytes(32, "big")
        market = Market(
            market_id,
            PROGRAM.pdas.market(market_id),
            creator or self.chain.wallet(lamports=liquidity + 10 * SOL),
            self.chain.wallet(),
        )
        self.chain.send(
            PROGRAM.create_market(
                creator=market.creator.pubkey(),
                market_id=market_id,
                b_parameter=b,
                initial_liquidity=liquidity,
                ipfs_question_hash=QUESTION_CID,
            ),
            market.creator,
        )
        return market

    def approve(self, market: Market) -> None:
        counts = PROGRAM.aggregate_proposal_votes(
            backend_authority=self.backend.pubkey(),
            market=market.address,
            final_likes=7,
            final_dislikes=3,
        )
        approval = PROGRAM.approve_proposal(admin=self.admin.pubkey(), market=market.address)
        self.chain.send([counts, approval], self.backend, self.admin)

    def activate(self, market: Market) -> Landed[ProgramEvent]:
        return self.chain.send(
            PROGRAM.activate_market(authority=market.creator.pubkey(), market=market.address), market.creator
        )

    def cancel(self, market: Market) -> Landed[ProgramEvent]:
        return self.chain.send(
            PROGRAM.cancel_market(admin=self.admin.pubkey(), market=market.address), self.admin
        )

    def buy(self, market: Market, user: Keypair, outcome: bool, target_cost: int) -> Landed[SharesBought]:
        return self.chain.send(
            PROGRAM.buy_shares(
                user=user.pubkey(),
                market=market.address,
                protocol_fee_wallet=self.fee_wallet,
                outcome=outcome,
                target_cost=target_cost,
            ),
            user,
        ).telling(SharesBought)

    def sell(
        self, market: Market, user: Keypair, outcome: bool, shares: int, min_proceeds: int = 0
    ) -> Landed[SharesSold]:
        return self.chain.send(
            PROGRAM.sell_shares(
                user=user.pubkey(),
                market=market.address,
                protocol_fee_wallet=self.fee_wallet,
                outcome=outcome,
                shares_to_sell=shares,
                min_proceeds=min_proceeds,
            ),
            user,
        ).telling(SharesSold)

    def resolve(self, market: Market, outcome: bool) -> Landed[ProgramEvent]:
        """A second after now, as the program demands."""
        self.chain.now += 1
        return self.chain.send(
            PROGRAM.resolve_market(
                resolver=market.resolver.pubkey(),
                market=market.address,
                proposed_outcome=outcome,
                ipfs_evidence_hash=EVIDENCE_CID,
            ),
            market.resolver,
        )

    def dispute(self, market: Market) -> Landed[ProgramEvent]:
        """A second after now, as the program demands."""
        self.chain.now += 1
        initiator = self.chain.wallet()
        return self.chain.send(
            PROGRAM.initiate_dispute(initiator=initiator.pubkey(), market=market.address), initiator
        )

    def finalize(
        self, market: Market, agree: int | None = None, disagree: int | None = None
    ) -> Landed[ProgramEvent]:
        """With both counts a disputed market; with neither one whose dispute period is waited for."""
        if agree is None:
            self.chain.now += DISPUTE_PERIOD_SECONDS
        return self.chain.send(
            PROGRAM.finalize_market(
                backend_authority=self.backend.pubkey(),
                market=market.address,
                dispute_agree=agree,
                dispute_disagree=disagree,
            ),
            self.backend,
        )

    def finalize_without_outcome(self, market: Market) -> Landed[ProgramEvent]:
        """A disputed market whose dispute the votes reject."""
        return self.chain.send(
            PROGRAM.aggregate_dispute_votes(
                backend_authority=self.backend.pubkey(),
                market=market.address,
                final_agrees=1,
                final_disagrees=2,
            ),
            self.backend,
        )

    def claim(self, market: Market, user: Keypair) -> Landed[WinningsClaimed]:
        return self.chain.send(
            PROGRAM.claim_winnings(
                user=user.pubkey(), market=market.address, resolver=market.resolver.pubkey()
            ),
            user,
        ).telling(WinningsClaimed)

    def withdraw(self, market: Market) -> Landed[LiquidityWithdrawn]:
        return self.chain.send(
            PROGRAM.withdraw_liquidity(creator=market.creator.pubkey(), market=market.address), market.creator
        ).telling(LiquidityWithdrawn)

    def read(self, market: Market) -> MarketAccount:
        return self.chain.read(MarketAccount, market.address)

    def position_of(self, market: Market, user: Keypair) -> UserPosition:
        return self.chain.read(UserPosition, PROGRAM.pdas.position(market.address, user.pubkey()))

    def change(self, market: Market, **fields: object) -> None:
        """Put a market where no sequence of instructions leads."""
        self.chain.write(market.address, _changed(self.read(market), **fields))


def configured_world() -> World:
    world = World()
    world.configure()
    return world


def _changed(account: MarketAccount | GlobalConfig, **fields: object) -> MarketAccount | GlobalConfig:
    kind = type(account)
    return kind(**{name: getattr(account, name) for name in kind.__struct_fields__} | fields)
