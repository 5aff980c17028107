"""Every answer reads what it returns, however much has been traded: no more, and by indexes.

A database with thousands of trades, positions, votes and comments is asked everything that the API answers;
Postgres logs each plan with the rows that it read. `planned_requests.py` has the rule and its exceptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
import pytest
from msgspec import Struct
from redis import Redis

from bench.scale_fill import YEAR_SECONDS, fill
from bench.synthetic_history import Rhythm, SyntheticHistory
from tests.integration.http.planned_requests import (
    ALLOWANCES,
    BASE,
    BOUNDED,
    FEW,
    MULTIPLE,
    REQUESTS,
    WITHOUT_STATEMENTS,
    Allowance,
)
from tests.integration.http.read_plans import PlanLog, StatementRead
from tests.integration.http.rest.rest_api import Api, running_api
from tests.patience import patient_database
from zmartd.embedded.postgres import DATABASE, Durability, EmbeddedPostgres
from zmartd.http.kit.pagination import NEXT_CURSOR
from zmartd.http.routes import OPERATIONS
from zmartd.market.ids import cid_v0
from zmartd.market.iso_time import iso_time
from zmartd.store import leaderboard
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

TRADES: Final = 5_000
MARKETS: Final = 600
WALLETS: Final = 1_500
TIMES: Final = 7
"""Postgres plans a prepared statement for its arguments five times, and perhaps never again."""
BAD: Final = {
    "select max(cost) from trades": "scans trades",
    "select * from trades order by block_time desc offset 1000 limit 1": "reads",
    "select count(*) from zmartd.all_traded_since('2000-01-01')": "reads",
}
"""Statements that break the rule."""
READS: Final = [path + more for path, listed in REQUESTS.items() for more in listed]
_MORE_ROWS: Final = """
insert into trades (market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee,
                    resolver_fee, lp_fee, exact, price_after, tx_signature, event_index, slot,
                    index_in_block, block_time)
select market_id, user_wallet, 'buy', outcome, shares, cost, amount, protocol_fee, resolver_fee, lp_fee,
       exact, price_after, tx_signature, event_index + 1, slot + 1000000, index_in_block,
       now() - interval '1 minute' * (id % 1440)
  from trades order by id desc limit 1000;
insert into proposal_votes (market_id, user_wallet, vote, source, tx_signature)
select market_id, user_wallet, bool_or(outcome), 'chain', min(tx_signature) from trades group by 1, 2;
insert into dispute_votes (market_id, user_wallet, vote, source, tx_signature)
select market_id, user_wallet, bool_or(outcome), 'chain', min(tx_signature) from trades group by 1, 2;
insert into discussions (market_id, user_wallet, content)
select market_id, user_wallet, 'a word about it' from trades;
update markets as market set state = given.state, final_outcome = given.outcome, finalized_at = given.at
  from (select id, row_number() over (order by trades_count desc) as place from markets) as placed
  join (values (2, 'FINALIZED', true, now()), (3, 'FINALIZED', null, now()), (4, 'RESOLVING', null, null),
               (5, 'DISPUTED', null, null), (6, 'PROPOSED', null, null), (7, 'CANCELLED', null, null))
       as given (place, state, outcome, at) on given.place = placed.place % 20
 where market.id = placed.id;
insert into alerts (rule, subject, severity, summary, value, first_seen, last_seen, opened_at, resolved_at)
select 'stuck_markets', id, 'warning', 'It is stuck.', 1, now(), now(), now(), now() from markets;
update markets set ipfs_question_hash = 'Qm' || left(translate(id, '0', 'g'), 44);
update markets set ipfs_question_hash = 'CID' where id = (select min(id) from markets);
insert into market_metadata (market_id, creator_wallet, question, description, category, tags, end_date, cid,
                             document, on_chain_address, b_parameter, initial_liquidity, slug_base, slug)
select id, creator_wallet, question, description, category, tags, now(), ipfs_question_hash, '{}',
       on_chain_address, b_parameter, initial_liquidity, 'market', 'market-' || row_number() over ()
  from markets;
"""
_SUBJECTS: Final = """
select (select id from markets where state = 'ACTIVE' order by trades_count desc limit 1) as market,
       (select id from markets where state = 'FINALIZED' and final_outcome order by trades_count desc limit 1)
           as final,
       (select id from markets where state = 'FINALIZED' and final_outcome is null
         order by trades_count desc limit 1) as refunded,
       (select user_wallet from user_positions group by 1 order by count(*) desc limit 1) as wallet,
       (select creator_wallet from markets limit 1) as creator,
       (select slug from market_metadata limit 1) as slug,
       (select cid from market_metadata order by market_id limit 1) as cid,
       (select tx_signature from trades limit 1) as signature,
       (select max(block_time) from trades) as newest
"""


class Asked(Struct, frozen=True):
    """A request, and all that was read for it, each time it was sent."""

    path: str
    status: int
    statements: list[StatementRead]


class Asker:
    """Sends requests one after the other, as the busiest wallet, who is an admin."""

    def __init__(self, api: Api, log: PlanLog, subjects: asyncpg.Record) -> None:
        self._api = api
        self._log = log
        self._subjects = subjects
        self._token, _ = api.sessions.open(subjects["wallet"])

    async def ask(self, read: str) -> Asked:
        """Each request several times, and the page that follows it."""
        path, found = self._path(read), list[StatementRead]()
        for _ in range(TIMES):
            self._log.new()
            status, cursor = await self._get(path)
            found += self._log.new()
        if cursor is not None:
            await self._get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
            found += self._log.new()
        return Asked(path, status, found)

    async def run(self, statement: str) -> Asked:
        """What a statement reads that is no answer's."""
        self._log.new()
        async with self._api.database.service() as connection:
            await connection.fetch(statement)
        return Asked(statement, 200, self._log.new())

    async def _get(self, path: str) -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {self._token}", "Cache-Control": "no-cache"}
        async with self._api.client.get(path, headers=headers) as response:
            is_json = response.content_type == "application/json"
            body: Any = await response.json() if is_json else None
            cursor = response.headers.get(NEXT_CURSOR)
            return response.status, body.get("next_cursor") if isinstance(body, dict) else cursor

    def _path(self, read: str) -> str:
        subjects, newest = self._subjects, self._subjects["newest"]
        path, _, about = read.partition("#")
        market = subjects[about or "market"]
        votes_about = market if path.startswith(("/api/votes", "/api/discussions")) else None
        chosen = {
            "{id}": votes_about or market,
            "{wallet}": subjects["wallet"],
            "{slug}": subjects["slug"],
            "{cid}": subjects["cid"],
            "{signature}": subjects["signature"],
            "CREATOR": subjects["creator"],
            "MARKET": market,
            "YEAR_AGO": quote(iso_time(newest - timedelta(days=365))),
            "DAY_AGO": quote(iso_time(newest - timedelta(days=1))),
            "NEWEST": quote(iso_time(newest)),
        }
        for name, value in chosen.items():
            path = path.replace(name, value)
        return path


@asynccontextmanager
async def an_asker(directory: Path, redis_url: str) -> AsyncIterator[Asker]:
    """Postgres with planned statements, much in it, and the API before it."""
    rhythm = Rhythm(YEAR_SECONDS, TRADES + 3 * MARKETS, 0.1)
    async with EmbeddedPostgres(directory, Durability.EPHEMERAL) as postgres:
        await migrate(postgres.dsn)
        await fill(postgres.dsn, SyntheticHistory(5, MARKETS, WALLETS, rhythm), TRADES)
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute(_MORE_ROWS.replace("CID", cid_v0(b"{}")))
        database = await Database.connect(patient_database(postgres.dsn))
        async with database.service() as service:
            newest = await service.fetchval("select max(block_time) from trades")
            await leaderboard.publish(service, newest, timedelta(0))
        await database.close()
        await connection.execute("vacuum analyze")
        subjects = await connection.fetchrow(_SUBJECTS)
        await connection.close()
        assert subjects is not None
        log = PlanLog(directory / "postgres.log")
        await log.begin(postgres.dsn, DATABASE)
        database = await Database.connect(patient_database(postgres.dsn))
        async with running_api(database, redis_url, admins=(subjects["wallet"],)) as api:
            yield Asker(api, log, subjects)
        await database.close()


async def _all_asked(directory: Path, redis_url: str) -> dict[str, Asked]:
    async with an_asker(directory, redis_url) as asker:
        planted = {statement: await asker.run(statement) for statement in BAD}
        return {read: await asker.ask(read) for read in READS} | planted


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, redis_server_url: str) -> dict[str, Asked]:
    """What was read for each request."""
    with Redis.from_url(redis_server_url) as client:
        client.flushall()
    return asyncio.run(_all_asked(tmp_path_factory.mktemp("read_plans"), redis_server_url))


def faults(statements: list[StatementRead], allowed: Allowance) -> list[str]:
    """What breaks the rule: scans of growing tables, and statements that read more than they return."""
    found = []
    for one in statements:
        growing = {table: rows for table, rows in one.scanned.items() if table not in BOUNDED and rows > FEW}
        if scans := set(growing) - allowed.scans:
            found.append(f"scans {', '.join(sorted(scans))}: {one.text}\n{one.plan}")
        if one.read > max(BASE + MULTIPLE * one.returned, allowed.rows):
            found.append(f"reads {one.read} rows for {one.returned}: {one.text}\n{one.plan}")
    return found


def test_every_operation_that_reads_is_asked() -> None:
    reading = {operation.path for operation in OPERATIONS if operation.method == "GET"}
    assert reading == {*REQUESTS, *WITHOUT_STATEMENTS}
    assert set(ALLOWANCES) <= set(READS)


@pytest.mark.parametrize("read", READS)
def test_an_answer_reads_what_it_returns(asked: dict[str, Asked], read: str) -> None:
    one = asked[read]
    assert one.status == 200, one
    assert one.statements, "no plan was logged"
    allowed = ALLOWANCES.get(read, Allowance("", 0))
    assert not faults(one.statements, allowed), "\n".join(faults(one.statements, allowed))


@pytest.mark.parametrize("statement", BAD)
def test_a_statement_that_reads_more_is_found(asked: dict[str, Asked], statement: str) -> None:
    found = faults(asked[statement].statements, Allowance("", 0))
    assert any(one.startswith(BAD[statement]) for one in found), asked[statement]
