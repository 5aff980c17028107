"""The outbox of messages about alerts: a row for each message and receiver.

What is claimed belongs to one daemon until its next attempt is due: a daemon that dies meanwhile leaves it to
the others, with the same id. All of these take a service transaction or reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.reader import Reads
from zmartd.store.text import storable

MAX_ERROR: Final = 500
KEPT_HOURS: Final = 24
"""After so long a message that has not arrived is given up."""

_ADD = """
insert into alert_deliveries (id, alert_id, receiver, body, next_attempt_at, created_at, delivered_at)
select given.id, given.alert, given.receiver, given.body, $5, $5,
       case when given.receiver = any($6::text[]) then $5::timestamptz end
  from unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as given(id, alert, receiver, body)
on conflict (id, receiver) do nothing
"""
# A receiver gets the messages about one alert in their order.
_CLAIM = """
with chosen as materialized (
    select number from alert_deliveries as due
     where receiver = $1 and next_attempt_at <= clock_timestamp()
       and delivered_at is null and given_up_at is null
       and not exists (
           select from alert_deliveries as earlier
            where earlier.alert_id = due.alert_id and earlier.receiver = due.receiver
              and earlier.number < due.number
              and earlier.delivered_at is null and earlier.given_up_at is null)
     order by number limit $2 for update skip locked)
update alert_deliveries as claimed
   set attempts = attempts + 1, next_attempt_at = clock_timestamp() + make_interval(secs => $3)
 where number in (select number from chosen)
returning number, id, alert_id, receiver, body, attempts
"""
_DELIVERED = """
with delivered as (
    update alert_deliveries set delivered_at = clock_timestamp(), error = null
     where number = $1 and delivered_at is null returning alert_id
)
update alerts set last_delivered_at = clock_timestamp() from delivered
 where alerts.id = delivered.alert_id and $2 returning true
"""
_FAILED = """
update alert_deliveries set next_attempt_at = clock_timestamp() + make_interval(secs => $2), error = $3
 where number = $1 and attempts = $4 and delivered_at is null returning true
"""
_GIVE_UP = """
update alert_deliveries set given_up_at = clock_timestamp()
 where delivered_at is null and given_up_at is null
   and created_at < clock_timestamp() - make_interval(hours => $1)
returning id, receiver, attempts, error
"""
_WAITING = """
select count(*) from alert_deliveries
 where receiver = $1 and delivered_at is null and given_up_at is null
"""


class NewDelivery(Struct, frozen=True):
    """A message for a receiver. `id` is its webhook-id."""

    id: str
    alert_id: int
    receiver: str
    body: str


class Delivery(Struct, frozen=True):
    """A message that this daemon is to send, for the `attempts`-th time."""

    number: int
    id: str
    alert_id: int
    receiver: str
    body: str
    attempts: int


class GivenUp(Struct, frozen=True):
    """A message that will not arrive any more."""

    id: str
    receiver: str
    attempts: int
    error: str | None


async def add(
    connection: Connection, messages: Sequence[NewDelivery], now: datetime, delivered: Sequence[str] = ()
) -> None:
    """Queue messages. The receivers in `delivered` have got theirs already."""
    await connection.execute(
        _ADD,
        [one.id for one in messages],
        [one.alert_id for one in messages],
        [one.receiver for one in messages],
        [one.body for one in messages],
        now,
        list(delivered),
    )


async def claim(connection: Reads, receiver: str, most: int, lease_seconds: float) -> list[Delivery]:
    """Take the oldest messages for a receiver that are due, for so long."""
    rows = await connection.fetch(_CLAIM, receiver, most, lease_seconds)
    return sorted((Delivery(**dict(row)) for row in rows), key=lambda one: one.number)


async def succeed(connection: Reads, delivery: Delivery, *, tells: bool) -> None:
    """Note that it has arrived; `tells`: with somebody, and not in the log."""
    await connection.fetchval(_DELIVERED, delivery.number, tells)


async def fail(connection: Reads, delivery: Delivery, pause_seconds: float, error: str) -> None:
    """Note why it has not, and try again after so long; nothing where another daemon has claimed it since."""
    await connection.fetchval(
        _FAILED, delivery.number, pause_seconds, storable(error, MAX_ERROR), delivery.attempts
    )


async def give_up(connection: Reads) -> list[GivenUp]:
    """Give up what has not arrived for KEPT_HOURS."""
    return [GivenUp(**dict(row)) for row in await connection.fetch(_GIVE_UP, KEPT_HOURS)]


async def waiting(connection: Reads, receiver: str) -> int:
    """How many messages a receiver has not got yet."""
    return int(await connection.fetchval(_WAITING, receiver))
