"""The API with the WHEREs of its queries removed: what callers see is then up to the policies alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from solders.keypair import Keypair
from structlog.testing import capture_logs

from tests.integration.http.rest.rest_api import Api, Caller, running_api
from tests.integration.http.rls.careless_database import CarelessDatabase, UnprotectedDatabase
from tests.integration.http.sample_bodies import BODIES
from tests.integration.store.rows import NOON, insert, insert_market, insert_position
from zmartd.http.routes import CORS_OPERATIONS
from zmartd.market.ids import masked
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database

OWNER, OTHER = Keypair.from_seed(bytes([7] * 32)), Keypair.from_seed(bytes([8] * 32))
MACHINE_PATHS = {"/health", "/ready", "/ws", "/"}
CHAIN_PATHS = {"/api/protocol", "/api/admin/alerts", "/api/admin/pending"}
"""What these answer is the chain's and the settings', or they ask the chain who the admin is."""
PAGE_OF_POSITIONS = "/api/users/{wallet}/positions?limit=10"
"""All of a wallet's positions are known by their markets, of which there is one here; a page is a list."""

# What only its owner may see of each private row, as it would stand in an answer.
SECRETS = {
    OWNER: ("777000111", "2026-01-07T07:07:07", "words about the owner"),
    OTHER: ("888000222", "2026-01-08T08:08:08", "words about the other"),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nothing between the lines of the tables that `-s` shows."""
    with capture_logs():
        yield


@pytest.fixture
async def market(database: Database) -> str:
    """One market, with everything private that two wallets can have in it.

    It has been through everything that can happen to a market, as no query expects to see one that has not
    been through what its WHERE asks for.
    """
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.DISPUTED, finalized_at=NOON)
        for wallet, (lamports, at, words) in SECRETS.items():
            address = str(wallet.pubkey())
            await insert_position(connection, market, address, total_invested=int(lamports))
            await insert(connection, "users", wallet=address, bio=words, display_name=words[-5:])
            await insert(
                connection, "dispute_votes", market_id=market, user_wallet=address, vote=True,
                voted_at=datetime.fromisoformat(at + "Z"),
            )  # fmt: skip
        for wallet in (OTHER, OWNER):  # without a WHERE the first comment is the one that is found
            await insert(
                connection, "discussions", market_id=market, user_wallet=str(wallet.pubkey()), content="So!"
            )
    return market


@pytest.fixture
async def careless(database: Database, redis_url: str, market: str) -> AsyncIterator[Api]:
    """The CORS_OPERATIONS on a database that forgets WHEREs."""
    forgetful = CarelessDatabase(database)
    async with running_api(forgetful, redis_url) as api:
        yield api
    assert forgetful.forgotten > 0


@pytest.fixture
async def unprotected(database: Database, redis_url: str, market: str) -> AsyncIterator[Api]:
    """The CORS_OPERATIONS on a database that forgets WHEREs and roles."""
    async with running_api(UnprotectedDatabase(database), redis_url) as api:
        yield api


def readable_paths(api: Api) -> list[str]:
    """The paths of the CORS_OPERATIONS that answer GET, as the table of routes has them."""
    resources = api.client.app.router.resources()
    return sorted(
        {
            resource.canonical
            for resource in resources
            if any(route.method == "GET" for route in resource)
            and resource.canonical not in MACHINE_PATHS | CHAIN_PATHS
        }
    )


async def seen_by(caller: Caller, path: str, market: str, wallet: Keypair) -> tuple[int, str]:
    """The status of a path that names `wallet`, and whose secrets the answer holds."""
    filled = path.replace("{wallet}", str(wallet.pubkey())).replace("{id}", market)
    query = "?type=dispute" if path.endswith("/votes") else ""
    response = await caller.client.get(re.sub(r"{\w+}", "1", filled) + query, headers=caller.headers)
    text = (await response.text()).replace('"', "")
    whose = {
        name
        for name, secrets in (("owner", SECRETS[OWNER]), ("other", SECRETS[OTHER]))
        if any(secret in text for secret in secrets)
    }
    return response.status, "+".join(sorted(whose)) or "-"


async def test_rls_alone_keeps_every_path_of_the_api_from_showing_a_wallet_s_rows_to_another(
    careless: Api, market: str
) -> None:
    callers = {
        "anon": careless.anybody, "owner": careless.as_wallet(OWNER), "other": careless.as_wallet(OTHER)
    }  # fmt: skip
    lines, leaks = [f"{'GET without WHERE':44}{'anon':>12}{'owner':>12}{'other':>12}"], []
    failed: set[str] = set()
    for path in [*readable_paths(careless), PAGE_OF_POSITIONS]:
        for wallet in (OWNER, OTHER) if "{wallet}" in path else (OWNER,):
            line = f"{path.replace('{wallet}', '{owner}' if wallet is OWNER else '{other}'):44}"
            for name, caller in callers.items():
                status, whose = await seen_by(caller, path, market, wallet)
                failed |= {path} if status >= 500 else set()
                line += f"{status:>6}{whose:>6}"
                if whose not in {"-", name}:
                    leaks.append((path, name, whose))
            lines.append(line)
    print("\n" + "\n".join(lines))
    assert leaks == []
    assert failed == set(), "paths that failed before they could have shown anything"


async def test_rls_still_shows_wallets_their_own_rows_when_the_where_is_gone(
    careless: Api, market: str
) -> None:
    for name, wallet in (("owner", OWNER), ("other", OTHER)):
        for path in ("/api/users/{wallet}/positions", PAGE_OF_POSITIONS, "/api/markets/{id}/votes"):
            assert await seen_by(careless.as_wallet(wallet), path, market, wallet) == (200, name)


async def test_without_rls_these_very_queries_would_show_what_is_another_s(
    unprotected: Api, market: str
) -> None:
    positions = await seen_by(unprotected.as_wallet(OTHER), PAGE_OF_POSITIONS, market, OTHER)
    assert positions == (200, "other+owner")


COMMENT_PATHS = {("PATCH", "/api/discussions/{id}"), ("DELETE", "/api/discussions/{id}")}


async def rows_naming(database: Database, wallet: str) -> dict[str, list[str]]:
    """Every row of every table that names `wallet`, as text."""
    async with database.service() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        return {
            table: [
                row["text"]
                for row in await connection.fetch(
                    f"select t::text as text from public.{table} t where t::text like $1 order by 1",
                    f"%{wallet}%",
                )
            ]
            for (table,) in tables
        }


async def test_rls_alone_keeps_every_path_that_writes_from_touching_what_is_another_s(
    careless: Api, database: Database, market: str
) -> None:
    owner = str(OWNER.pubkey())
    async with database.service() as connection:
        comment = await connection.fetchval("select id from discussions where user_wallet = $1", owner)
    writes = [
        operation for operation in CORS_OPERATIONS if operation.writes and "/auth/" not in operation.path
    ]
    soon = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    before, touched = await rows_naming(database, owner), []
    lines = [f"{'write without WHERE':52}{'anon':>6}{'other':>6}"]
    for operation in writes:
        named = comment if (operation.method, operation.path) in COMMENT_PATHS else market
        path = operation.path.replace("{id}", str(named)).replace("{number}", "7")
        body = {
            name: {"{market}": market, "{soon}": soon}.get(str(value), value)
            for name, value in BODIES.get(operation.path, {}).items()
            if not operation.expects_no_body
        }
        line = f"{operation.method + ' ' + operation.path:52}"
        for caller in (careless.anybody, careless.as_wallet(OTHER)):
            response = await caller.client.request(operation.method, path, json=body, headers=caller.headers)
            line += f"{response.status:>6}"
            if await rows_naming(database, owner) != before:
                touched.append(f"{operation.method} {operation.path}")
        lines.append(line)
    print("\n" + "\n".join(lines))
    assert touched == []
    malformed = [line for line in lines if "   400" in line]
    assert len(malformed) == 1, "but for a transaction, what is sent is as it should be"
    assert "another" in str(await rows_naming(database, str(OTHER.pubkey())))


async def test_without_rls_such_a_write_would_touch_what_is_another_s(
    unprotected: Api, database: Database, market: str
) -> None:
    owner = str(OWNER.pubkey())
    before = await rows_naming(database, owner)
    changed = await unprotected.as_wallet(OTHER).patch("/api/users/me", {"bio": "about another"})
    assert changed.status == 200
    assert (await rows_naming(database, owner))["users"] != before["users"]


async def comments(database: Database) -> dict[str, str | None]:
    """What each wallet's comment says."""
    async with database.service() as connection:
        rows = await connection.fetch("select user_wallet, content from discussions")
    return {row["user_wallet"]: row["content"] for row in rows}


async def test_rls_alone_lets_a_wallet_that_deletes_every_comment_delete_only_its_own(
    careless: Api, database: Database, market: str
) -> None:
    async with database.service() as connection:
        target = await connection.fetchval(
            "select id from discussions where user_wallet = $1", str(OWNER.pubkey())
        )
    path = f"/api/discussions/{target}"

    assert (await careless.anybody.delete(path)).status == 401
    assert (await careless.as_wallet(OTHER).delete(path)).status == 200
    assert await comments(database) == {str(OWNER.pubkey()): "So!", str(OTHER.pubkey()): None}


async def test_rls_names_wallets_in_public_rows_whole_only_to_who_signed_in(
    careless: Api, market: str
) -> None:
    path = f"/api/discussions/{market}"
    anonymous = await careless.anybody.get(path)
    signed_in = await careless.as_wallet(OTHER).get(path)

    wallets = {str(OWNER.pubkey()), str(OTHER.pubkey())}
    assert not any(wallet in str(anonymous.body) for wallet in wallets)
    assert all(masked(wallet) in str(anonymous.body) for wallet in wallets)
    assert all(wallet in str(signed_in.body) for wallet in wallets)
