"""Measures trades in one table, and in partitions by slot beside a table of their keys."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from asyncpg import Connection

from bench.backend_cost import backend_of
from bench.figures import Figure

MONTHS: Final = 24
MARKETS: Final = 1_000
WALLETS: Final = 20_000
PAGE: Final = 50
READS: Final = 2_000
INSERTS: Final = 1_000
BATCH: Final = 100

_COLUMNS: Final = """
    id bigint not null default nextval('{name}_ids'), market_id text not null, user_wallet text not null,
    outcome boolean not null, shares numeric not null, cost numeric not null, amount numeric not null,
    fees numeric not null, price_after numeric not null, tx_signature text not null,
    event_index integer not null, slot bigint not null, block_time timestamptz not null,
    created_at timestamptz not null default now()
"""
_INDEXES: Final = """
create index on {name} (market_id, slot desc, id desc);
create index on {name} (user_wallet, slot desc, id desc);
create index on {name} (block_time desc);
"""
_ONE: Final = """
create sequence one_ids;
create table one (primary key (id), unique (tx_signature, event_index), {columns});
"""
_PARTED: Final = """
create sequence parted_ids;
create table parted_keys (tx_signature text not null, event_index integer not null,
                          primary key (tx_signature, event_index));
create table parted (primary key (id, slot), {columns}) partition by range (slot);
"""
# Trades are a second apart and two slots each, like a market's on a busy chain; a tenth is of one market.
_TRADES: Final = """
select case when n % 10 = 0 then 0 else (hashint8(n) & 1048575) % {markets} end as market,
       case when n % 10 = 3 then 0 else (hashint8(n + 7) & 1048575) % {wallets} end as wallet, n
  from generate_series($1::bigint, $2::bigint) as n
"""
_ROW: Final = """
insert into {name} (market_id, user_wallet, outcome, shares, cost, amount, fees, price_after, tx_signature,
                    event_index, slot, block_time)
select {market}, {wallet}, n % 2 = 0, 1000000000 + n, 500000000 + n, 490000000 + n, 10000000, 0.5,
       {signature}, 0, 2 * n, '2026-01-01'::timestamptz + n * interval '1 second'
  from ({trades}) as made
"""
_MARKET: Final = "md5('m' || {}) || md5('k' || {})"
_WALLET: Final = "substr(md5('w' || {}) || md5('v' || {}), 1, 44)"
_SIGNATURE: Final = "substr(md5('s' || n) || md5('t' || n) || md5('u' || n), 1, 88)"
_PAGES: Final = {
    "of the busiest market": ("market_id", "m", 0),
    "of another market": ("market_id", "m", 17),
    "of the busiest wallet": ("user_wallet", "w", 0),
    "of another wallet": ("user_wallet", "w", 17),
}


async def measure_trades(dsn: str, trades: int) -> list[Figure]:
    """Compare pages, inserts and sizes, of so many trades; the floor is one table."""
    async with backend_of(dsn) as backend:
        await _make_trades(backend.connection, trades)
        sizes = await _sizes(backend.connection, trades)
    return [*await _pages(dsn, trades), *await _inserts(dsn, trades), *sizes]


def _row(name: str, trades: str) -> str:
    return _ROW.format(
        name=name,
        market=_MARKET.format("market", "market"),
        wallet=_WALLET.format("wallet", "wallet"),
        signature=_SIGNATURE,
        trades=trades,
    )


async def _make_trades(connection: Connection, trades: int) -> None:
    chosen = _TRADES.format(markets=MARKETS, wallets=WALLETS)
    await connection.execute(_ONE.format(columns=_COLUMNS.format(name="one")))
    await connection.execute(_PARTED.format(columns=_COLUMNS.format(name="parted")))
    width = 2 * trades // MONTHS + 1
    for month in range(MONTHS + 1):
        end = (
            "maxvalue" if month == MONTHS else width * (month + 1)
        )  # the last one is for what is written now
        await connection.execute(
            f"create table parted_{month} partition of parted for values from ({width * month}) to ({end})"
        )
    for name in ("one", "parted"):
        await connection.execute(_INDEXES.format(name=name))
        await connection.execute(_row(name, chosen), 1, trades, timeout=3_600)
    await connection.execute(
        "insert into parted_keys select tx_signature, event_index from parted", timeout=3_600
    )
    await connection.execute("vacuum analyze", timeout=3_600)


def _page(name: str, column: str) -> str:
    return (
        f"select * from {name} where {column} = $1 and slot <= $2 and (slot, id) < ($2, $3)"
        f" order by slot desc, id desc limit {PAGE}"
    )


async def _pages(dsn: str, trades: int) -> list[Figure]:
    """The processor time of a page in the middle of a list, and the buffers that it touches."""
    figures = []
    for words, (column, letter, number) in _PAGES.items():
        found: dict[str, dict[str, float]] = {}
        for name in ("parted", "one"):
            found[name] = {}
            for mode in ("force_custom_plan", "force_generic_plan"):
                async with backend_of(dsn, f"plan_cache_mode = {mode}") as backend:
                    key = await backend.connection.fetchval(
                        f"select {(_MARKET if letter == 'm' else _WALLET).format(number, number)}"
                    )
                    page = await backend.connection.prepare(_page(name, column))
                    arguments = (key, trades, 2**62)

                    async def read() -> None:
                        for _ in range(READS // 4):
                            await page.fetch(*arguments)  # noqa: B023 - it ends before the next one

                    await read()
                    cpu, _ = await backend.cost(read)
                    found[name][mode] = cpu / (READS // 4) * 1e6
                    found[name]["buffers"] = await _buffers(backend.connection, page.get_query(), arguments)
        for mode, plan in (("force_custom_plan", "planned each time"), ("force_generic_plan", "plan kept")):
            figures.append(
                Figure(
                    f"page {words}, {plan}",
                    found["parted"][mode],
                    "µs CPU",
                    floor=found["one"][mode],
                    note=f"buffers {found['parted']['buffers']:.0f}, {found['one']['buffers']:.0f}",
                )
            )
    return figures


async def _buffers(connection: Connection, statement: str, arguments: tuple[Any, ...]) -> float:
    """Buffers that a kept plan touches to run."""
    literal = ", ".join(repr(one) for one in arguments)
    await connection.execute(f"prepare asked as {statement}")
    text = await connection.fetchval(f"explain (analyze, buffers, format json) execute asked({literal})")
    await connection.execute("deallocate asked")
    plan = msgspec.json.decode(text)[0]["Plan"]
    return float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def _inserts(dsn: str, trades: int) -> list[Figure]:
    """An insert with the check that the event is new, alone and a hundred at a time."""
    chosen = _TRADES.format(markets=MARKETS, wallets=WALLETS)
    once = _row("one", chosen) + " on conflict (tx_signature, event_index) do nothing"
    signature = _SIGNATURE
    twice = (
        f"with fresh as (insert into parted_keys select {signature}, 0"
        " from generate_series($1::bigint, $2::bigint) as n on conflict do nothing returning tx_signature) "
        + _row("parted", chosen)
        + f" where {signature} in (select tx_signature from fresh)"
    )
    figures, begun = [], trades
    for size, times in ((1, INSERTS), (BATCH, INSERTS // 10)):
        found = {"one": 0.0, "parted": 0.0}
        for _ in range(4):  # by turns
            for name, statement in (("parted", twice), ("one", once)):
                async with backend_of(dsn, "plan_cache_mode = force_generic_plan") as backend:

                    async def write() -> None:
                        for turn in range(times // 4):  # noqa: B023 - it ends before the next one
                            first = begun + turn * size + 1  # noqa: B023
                            await backend.connection.execute(statement, first, first + size - 1)  # noqa: B023

                    found[name] += (await backend.cost(write))[0] / (times * size) * 1e6
            begun += times // 4 * size
        figures.append(
            Figure(f"insert, {size} at a time", found["parted"], "µs CPU", floor=found["one"], note="each")
        )
    return figures


async def _sizes(connection: Connection, trades: int) -> list[Figure]:
    parted = await connection.fetchval(
        "select sum(pg_total_relation_size(oid)) from pg_class where relname ~ '^parted' and relkind = 'r'"
    )
    one = await connection.fetchval("select pg_total_relation_size('one')")
    return [Figure("on disk, each trade", int(parted) / trades, "bytes", floor=one / trades)]
