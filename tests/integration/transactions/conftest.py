from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

WATCH = """
create table public.outbox_statements (number bigserial, kind text);
create function public.count_outbox_statement() returns trigger language plpgsql security definer as $$
begin
    insert into public.outbox_statements (kind) values (lower(tg_op collate "C"));
    return null;
end
$$;
create trigger count_statements before insert or update or delete on public.outbox_transactions
    for each statement execute function public.count_outbox_statement();
"""
UNWATCH = """
drop trigger count_statements on public.outbox_transactions;
drop function public.count_outbox_statement;
drop table public.outbox_statements;
"""
TAKE = """
with taken as (delete from public.outbox_statements returning *)
select kind from taken order by number
"""


class OutboxStatements:
    """The statements that write the outbox, whether or not they change a row."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def taken(self) -> list[str]:
        """Their kinds, in their order, since the last call."""
        rows = await self._connection.fetch(TAKE)
        return [row["kind"] for row in rows]


@pytest.fixture
async def outbox_statements(database_url: str) -> AsyncIterator[OutboxStatements]:
    """Counts them for the length of a test, which has the database for itself."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(WATCH)
    try:
        yield OutboxStatements(connection)
    finally:
        await connection.execute(UNWATCH)
        await connection.close()
