from __future__ import annotations

from functools import partial

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.tasks.world import (
    AUTHORITY,
    CREATOR,
    HOLDERS,
    PROGRAM_ID,
    TREASURY,
    World,
)
from zmartd import config
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.config_values import PostgresUrl
from zmartd.indexer.audit.audit import AuditReport, audit, missing_signatures
from zmartd.indexer.audit.comparison import UNREADABLE, Difference
from zmartd.indexer.repair.repair import Repairer
from zmartd.indexer.replay.replay import ReplayReport, replay
from zmartd.indexer.walks.backfill import fill
from zmartd.market.lifecycle import VoteKind


async def audited(world: World, patience_seconds: float = 0.0) -> AuditReport:
    return await audit(world.database, world.own.rpc, PROGRAM_ID, patience_seconds=patience_seconds)


async def buy(world: World, market_id: str, holder: Keypair, *, indexed: bool = True) -> None:
    purchase = world.program.buy_shares(
        user=holder.pubkey(),
        market=world.address(market_id),
        protocol_fee_wallet=TREASURY.pubkey(),
        outcome=True,
        target_cost=10**8,
    )
    await world.act(holder, purchase, indexed=indexed)


async def active(world: World) -> str:
    market_id = await world.proposal()
    await world.approve(market_id)
    activate = world.program.activate_market(authority=CREATOR.pubkey(), market=world.address(market_id))
    await world.act(CREATOR, activate)
    return market_id


async def alter(world: World, statement: str, *arguments: object) -> None:
    async with world.database.service() as connection:
        await connection.execute(statement, *arguments)


async def test_markets_in_every_stage_equal_their_accounts(world: World) -> None:
    proposed = await world.proposal()
    await active(world)
    vote = world.program.submit_proposal_vote(
        user=HOLDERS[0].pubkey(), market=world.address(proposed), vote=True
    )
    await world.act(HOLDERS[0], vote)
    await world.resolving(*[10**8] * 2)
    await world.disputed()
    report = await audited(world)
    assert report.differences == ()
    assert (report.ok, report.markets, report.positions, report.moving) == (True, 4, 2, ())


async def test_markets_that_are_over_equal_their_accounts_and_a_replay(
    world: World, database_url: str
) -> None:
    quiet, disputed = await world.resolving(*[10**8] * 2), await world.resolving(*[10**8] * 2)
    await world.travel(60)
    await world.dispute(disputed)
    await world.travel(4 * 86_400)
    cancelled = await world.proposal()
    await world.act(
        AUTHORITY, world.program.cancel_market(admin=AUTHORITY.pubkey(), market=world.address(cancelled))
    )
    for market_id, counts in ((quiet, {}), (disputed, {"dispute_agree": 9, "dispute_disagree": 1})):
        market = world.address(market_id)
        finalize = world.program.finalize_market(
            backend_authority=AUTHORITY.pubkey(), market=market, **counts
        )
        await world.act(AUTHORITY, finalize)
    claim = world.program.claim_winnings(
        user=HOLDERS[0].pubkey(), market=world.address(disputed), resolver=CREATOR.pubkey()
    )
    await world.act(HOLDERS[0], claim)
    withdraw = world.program.withdraw_liquidity(creator=CREATOR.pubkey(), market=world.address(disputed))
    await world.act(CREATOR, withdraw)
    assert (await audited(world)).differences == ()
    report = await replayed(world, database_url)
    assert [one.table for one in report.tables if not one.ok] == []


async def test_a_trade_that_never_arrived_is_named_field_by_field(world: World) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0])
    await buy(world, market_id, HOLDERS[1], indexed=False)
    report = await audited(world)
    account, market = await world.account(market_id), str(world.address(market_id))
    of_market = {one.field: one.on_chain for one in report.differences if one.wallet is None}
    assert of_market == {
        "current_liquidity": account.current_liquidity,
        "shares_yes": account.shares_yes,
        "price_yes": of_market["price_yes"],
        "total_volume": account.total_volume,
        "accumulated_protocol_fees": account.accumulated_protocol_fees,
        "accumulated_resolver_fees": account.accumulated_resolver_fees,
        "accumulated_lp_fees": account.accumulated_lp_fees,
        "trades_count": 2,
        "trades": 2,
        "trades_volume": account.total_volume,
        "trades_protocol_fees": account.accumulated_protocol_fees,
    }
    assert [one for one in report.differences if one.wallet is not None] == [
        Difference(market, str(HOLDERS[1].pubkey()), "exists", indexed=False, on_chain=True)
    ]
    (missing,) = await missing_signatures(world.database, world.own.rpc, world.address(market_id))
    await world.own.fetcher.apply_signature(missing.signature)
    assert (await audited(world)).differences == ()


async def test_a_market_nobody_indexed_is_found(world: World) -> None:
    market_id = await world.proposal(indexed=False)
    assert (await audited(world)).differences == (
        Difference(str(world.address(market_id)), None, "exists", indexed=False, on_chain=True),
    )


async def test_rows_that_somebody_altered_are_found(world: World) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0])
    market, wallet = str(world.address(market_id)), str(HOLDERS[0].pubkey())
    await alter(world, "update markets set accumulated_protocol_fees = accumulated_protocol_fees + 1")
    await alter(world, "update user_positions set total_invested = total_invested - 1")
    await alter(world, "update markets set proposal_likes = 7")
    await alter(world, "update protocol set is_paused = true")
    found = (await audited(world)).differences
    assert [(one.market, one.wallet, one.field) for one in found] == [
        (None, None, "is_paused"),
        (market, None, "accumulated_protocol_fees"),
        (market, None, "proposal_likes"),
        (market, wallet, "total_invested"),
    ]


async def test_an_account_that_cannot_be_decoded_is_one_difference_and_the_rest_is_compared(
    world: World,
) -> None:
    voted = await world.proposal()
    broken, held, other = [await active(world) for _ in range(3)]
    for market_id in (broken, held, other):
        await buy(world, market_id, HOLDERS[0])
    market = {one: world.address(one) for one in (broken, held, voted, other)}
    wallet, voter, pdas = HOLDERS[0].pubkey(), HOLDERS[1].pubkey(), world.program.pdas
    vote = world.program.submit_proposal_vote(user=voter, market=market[voted], vote=True)
    await world.act(HOLDERS[1], vote)
    await cut_short(world, pdas.global_config(), market[broken])
    await cut_short(world, pdas.position(market[held], wallet))
    await cut_short(world, pdas.vote(market[voted], voter, VoteKind.PROPOSAL))
    await alter(world, "update markets set total_volume = 7 where id = $1", other)
    unreadable = {
        (None, None, UNREADABLE),
        (str(market[broken]), None, UNREADABLE),
        (str(market[held]), str(wallet), UNREADABLE),
        (str(market[voted]), str(voter), UNREADABLE),
    }
    report = await audited(world)
    found = [(one.market, one.wallet, one.field) for one in report.differences]
    assert len(found) == len(unreadable) + 1
    assert set(found) == {*unreadable, (str(market[other]), None, "total_volume")}
    told = {str(one.on_chain) for one in report.differences if one.market == str(market[broken])}
    assert told == {f"the account {market[broken]} cannot be decoded: MarketAccount: 75 bytes are too few"}
    # A repair goes past them, too.
    repaired = await Repairer(world.own.rpc, world.own.fetcher, world.database, PROGRAM_ID).repair()
    assert {(one.market, one.wallet, one.field) for one in repaired.report.differences} == unreadable
    assert [one.market for one in repaired.failed] == [str(market[broken])]


async def cut_short(world: World, *addresses: Pubkey) -> None:
    """Leave accounts what identifies them, and no more than three bytes of the rest."""
    for account in await world.own.rpc.accounts(addresses):
        assert account is not None
        await world.cheat("surfnet_setAccount", str(account.address), {"data": account.data[:75].hex()})

    async def arrived() -> bool:
        accounts = await world.own.rpc.accounts(addresses)
        return all(one is not None and len(one.data) == 75 for one in accounts)

    await world.until(arrived)


async def test_a_transaction_that_arrives_while_the_audit_waits_is_no_difference(world: World) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0], indexed=False)
    arriving = ArrivingLate(world, market_id)
    report = await audit(world.database, world.own.rpc, PROGRAM_ID, patience_seconds=10.0, clock=arriving)
    assert (report.differences, report.moving) == ((), ())
    assert arriving.slept


class ArrivingLate:
    """A clock during whose sleeps a market's missing transactions arrive."""

    def __init__(self, world: World, market_id: str) -> None:
        self._world = world
        self._market = world.address(market_id)
        self.slept = False

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept = True
        world = self._world
        missing = await missing_signatures(world.database, world.own.rpc, self._market)
        await fill(world.database, world.own.fetcher, missing)


async def replayed(world: World, database_url: str) -> ReplayReport:
    settings = config.DatabaseSettings(url=PostgresUrl(database_url))
    parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
    return await replay(world.database, settings, rpc=world.own.rpc, program_id=PROGRAM_ID, parse=parse)


async def test_a_replay_from_genesis_gives_the_same_hashes(world: World, database_url: str) -> None:
    await world.resolving(*[10**8] * 2)
    await world.disputed()
    report = await replayed(world, database_url)
    assert [one.table for one in report.tables if not one.ok] == []
    assert report.transactions > 10
    databases = await world.fetch("select datname from pg_database where datname like 'zmartd_replay%'")
    assert databases == []


async def test_a_replay_shows_what_somebody_altered(world: World, database_url: str) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0])
    await alter(world, "update trades set lp_fee = lp_fee + 1")
    report = await replayed(world, database_url)
    assert [one.table for one in report.tables if not one.ok] == ["trades"]


async def test_a_market_that_never_stands_still_is_no_difference(world: World) -> None:
    market_id = await active(world)
    await buy(world, market_id, HOLDERS[0], indexed=False)
    trading = TradingOn(world, market_id)
    report = await audit(world.database, world.own.rpc, PROGRAM_ID, patience_seconds=1.0, clock=trading)
    assert (report.differences, report.moving) == ((), (str(world.address(market_id)),))


class TradingOn(ArrivingLate):
    """A clock during whose sleeps, one second each, the missing transactions arrive and a new one happens."""

    def __init__(self, world: World, market_id: str) -> None:
        super().__init__(world, market_id)
        self._market_id = market_id
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await buy(self._world, self._market_id, HOLDERS[1], indexed=False)
        self._now += 1.0
