"""The streams of markets and of wallets: numbered messages, kept so that a client can resume.

Numbers have no gaps: they are given in the transaction that commits what the messages tell of, under the lock
of the stream's row. So whoever knows a message knows that all before it are committed. All of these take a
service transaction or reader.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Final, Self

from asyncpg import Connection
from msgspec import Struct

from zmartd.store import pulses
from zmartd.store.postgres.reader import Reads
from zmartd.store.pulses import Pulse

MAX_BODY_BYTES: Final = 65_536

_APPEND = """
with said as (
    select name, body, place from unnest($1::text[], $2::bytea[]) with ordinality as said (name, body, place)
), raised as (
    insert into streams (name, seq) select name, count(*) from said group by name order by name
    on conflict (name) do update set seq = streams.seq + excluded.seq
    returning id, name, seq
), numbered as (
    select raised.id, said.place, said.body,
           raised.seq + 1 - row_number() over (partition by said.name order by said.place desc) as seq
      from said join raised using (name)
), kept as (
    insert into stream_messages (stream_id, seq, body) select id, seq, body from numbered
)
select seq, zmartd.stream_epoch() as epoch from numbered order by place
"""
_LOCK_EPOCHS = "lock table stream_epochs in share row exclusive mode"
_BEGIN_EPOCH = """
insert into stream_epochs (id, database)
select $1, zmartd.this_database()
 where zmartd.this_database()
       is distinct from (select database from stream_epochs order by number desc limit 1)
"""
_CHANGE_EPOCH = """
insert into stream_epochs (id, database) values ($1, zmartd.this_database()) returning id
"""
HORIZON: Final = """
least(pg_snapshot_xmin(pg_current_snapshot()), coalesce(
    (select (message.committed_by::text::bigint + 1)::text::xid8 from stream_messages as message
      where message.committed_by < pg_snapshot_xmax(pg_current_snapshot())
      order by message.committed_by desc limit 1), '1'))
"""
"""The id of a transaction before which none will commit a message that is not visible now.

All before the oldest one that runs have ended. But a server that recovers from a crash gives ids again of
which its log had nothing yet: those after the last transaction whose commit was waited for, as that of the
newest visible message was. Without messages it is 1: after the 0 of those that were disowned, and before
every transaction. (Postgres documentation, Transactions and Identifiers, and Asynchronous Commit.)
"""
_CHANGES = f"""
with changed as (
    select message.stream_id, min(message.seq) as first, max(message.seq) as last
      from stream_messages as message
     where message.committed_by >= coalesce($1::text::xid8, pg_snapshot_xmin(pg_current_snapshot()))
       and message.committed_by < pg_snapshot_xmax(pg_current_snapshot())
     group by message.stream_id
)
select ({HORIZON})::text as horizon, epoch.id as epoch,
       epoch.database = zmartd.this_database() as is_present, stream.name, changed.first, changed.last,
       {pulses.COLUMNS}
  from (select id, database from stream_epochs order by number desc limit 1) as epoch
  left join pulses as pulse on true
  left join (changed join streams as stream on stream.id = changed.stream_id) on true
"""  # noqa: S608 - constants
_DISOWN = """
with chosen as materialized (
    select stream_id, seq from stream_messages
     where committed_by >= pg_snapshot_xmax(pg_current_snapshot()) limit $1 for update skip locked)
update stream_messages set committed_by = '0' where (stream_id, seq) in (select stream_id, seq from chosen)
"""
_AFTER = """
select stream.name, message.seq, message.body
  from unnest($1::text[], $2::bigint[]) as wanted (name, after)
  join streams as stream on stream.name = wanted.name
 cross join lateral (select seq, body from stream_messages
                      where stream_id = stream.id and seq > wanted.after order by seq limit $3) as message
 order by stream.name, message.seq
"""
_POSITIONS = """
select wanted.name, zmartd.stream_epoch() || ':' || coalesce(stream.seq, 0) as position
  from unnest($1::text[]) as wanted (name) left join streams as stream using (name)
"""


class StreamPosition(Struct, frozen=True):
    """A place in a stream: after its message `seq`, 0 before the first, in one epoch of the database."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position in `epoch:seq`. Raises ValueError."""
        epoch, _, seq = text.partition(":")
        if not (seq.isascii() and seq.isdigit()):
            raise ValueError("a position is an epoch, a colon and a whole number")
        return cls(epoch, int(seq))


class Changes(Struct, frozen=True):
    """Which streams have had messages since a horizon."""

    epoch: str
    horizon: str
    """Where to look from the next time."""
    streams: Mapping[str, tuple[int, int]]
    """The first and the last message of each. Those of an earlier look may be among them."""
    pulse: Pulse | None = None
    """The pulse in the same read: all that was committed before it is among what this look and those before
    it have shown. None before the first one."""


class StoredMessage(Struct, frozen=True):
    seq: int
    body: bytes


async def append(connection: Connection, messages: Sequence[tuple[str, bytes]]) -> list[StreamPosition]:
    """Append messages to streams, given by their names, and return where they are.

    The last statement of its transaction, because it locks the streams until the commit.
    """
    if not messages:
        return []
    names, bodies = zip(*messages, strict=True)
    rows = await connection.fetch(_APPEND, names, bodies)
    return [StreamPosition(row["epoch"], row["seq"]) for row in rows]


async def changes(connection: Reads, horizon: str | None) -> Changes | None:
    """The streams that have changed since `horizon`, that of an earlier look.

    For None, those that have changed since the oldest transaction began that runs now.

    None if this is not the database in which the epoch began: another one has to begin.
    """
    rows = await connection.fetch(_CHANGES, horizon)
    if not rows or not rows[0]["is_present"]:
        return None
    changed = {row["name"]: (row["first"], row["last"]) for row in rows if row["name"] is not None}
    return Changes(rows[0]["epoch"], rows[0]["horizon"], changed, pulses.from_row(rows[0]))


async def disown(connection: Connection, limit: int) -> int:
    """Forget which transactions committed messages that came with a copy of another database.

    Takes at most `limit` of those that this database has not reached yet: it would take them for its own once
    it has. Returns how many.
    """
    done: str = await connection.execute(_DISOWN, limit)
    return int(done.removeprefix("UPDATE "))


async def begin_epoch(connection: Connection) -> None:
    """Begin a new epoch, unless this is the database in which the last one began."""
    await connection.execute(_LOCK_EPOCHS)
    await connection.execute(_BEGIN_EPOCH, secrets.token_hex(8))


async def change_epoch(connection: Connection) -> str:
    """Begin a new epoch, whichever database this is, and return it: every position before it has ended."""
    await connection.execute(_LOCK_EPOCHS)
    epoch: str = await connection.fetchval(_CHANGE_EPOCH, secrets.token_hex(8))
    return epoch


async def after(
    connection: Reads, positions: Mapping[str, int], limit: int
) -> dict[str, list[StoredMessage]]:
    """The messages after these numbers, by stream and in order, at most `limit` of each.

    What is older than the history that is kept is missing at the beginning.
    """
    found: dict[str, list[StoredMessage]] = {}
    for row in await connection.fetch(_AFTER, list(positions), list(positions.values()), limit):
        found.setdefault(row["name"], []).append(StoredMessage(row["seq"], row["body"]))
    return found


async def positions(connection: Reads, names: Sequence[str]) -> dict[str, StreamPosition]:
    """How far each of these streams has come."""
    rows = await connection.fetch(_POSITIONS, names)
    return {row["name"]: StreamPosition.parse(row["position"]) for row in rows}
