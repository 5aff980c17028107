"""What a task would send, with its simulation. Nothing here can send or write.

The database refuses to be written, the RPC client has no way to send, and the submitter submits nothing: a
task that tries to do more than to plan fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from zmartd.chain.failures import explain_failure
from zmartd.chain.network_fees import LAMPORTS_PER_SIGNATURE, lamports_for
from zmartd.chain.rpc import Rpc
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.errors import ZmartdError
from zmartd.store.intents import Intent, Standing, expired_before, standing_for
from zmartd.store.postgres.database import Database
from zmartd.tasks.authority import Authority
from zmartd.tasks.base import PeriodicTask, TaskSkipped
from zmartd.tasks.context import TaskContext
from zmartd.tasks.meant import Meant, instructions_of, packed
from zmartd.tasks.plan import Obstacle, Plan, Planner
from zmartd.transactions.submission import Recording, Submission, Submitter


class NothingIsSent(ZmartdError):
    """This is a dry run: it sends and records nothing."""

    code = "nothing_is_sent"


class NoDryRun(ZmartdError):
    """This task sends no transactions of its own, so that a dry run would show nothing."""

    code = "no_dry_run"


class DryTransaction(Struct, frozen=True, kw_only=True):
    """A transaction that would be sent."""

    purpose: str
    market_ids: tuple[str, ...]
    details: tuple[str, ...]
    """Why, for each market."""
    under_way: str | None = None
    """The signature of the transaction that is under way already, with which a run would go on."""
    units: int | None = None
    """The compute units that the simulation took."""
    units_limit: int | None = None
    """Those that it would ask for."""
    fee_lamports: int | None = None
    """What it would pay the network, priority fee included."""
    failure: str | None = None
    """Why it would fail; then it would not be signed."""
    logs: tuple[str, ...] = ()
    """The logs of a simulation that failed."""


class DryRun(Struct, frozen=True):
    """What one task would send now."""

    task: str
    transactions: tuple[DryTransaction, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    skipped: str | None = None
    """Why the task cannot run here."""
    failure: str | None = None
    """Why nothing can be said."""

    @property
    def ok(self) -> bool:
        """Whether nothing needs an operator's attention."""
        return (
            self.failure is None
            and not self.obstacles
            and all(one.failure is None for one in self.transactions)
        )


class DryRpc(Rpc):
    """A node that is only asked."""

    async def send(self, wire: bytes) -> NoReturn:
        raise NothingIsSent

    async def broadcast(self, wire: bytes) -> NoReturn:
        raise NothingIsSent


class DrySubmitter(Submitter):
    """Submits nothing."""

    def __init__(self) -> None:
        """It has nothing to submit with."""

    async def submit(self, transaction: SignedTransaction) -> Submission:
        raise NothingIsSent

    async def submit_recorded(self, transaction: SignedTransaction) -> Submission:
        raise NothingIsSent

    async def submit_once(
        self,
        intents: Sequence[Intent],
        proposed: SignedTransaction | None,
        recording: Recording | None = None,
    ) -> NoReturn:
        raise NothingIsSent

    async def expired_before(self, intents: Sequence[Intent]) -> NoReturn:
        raise NothingIsSent


async def dry_run(task: PeriodicTask, context: TaskContext) -> DryRun:
    """What `task` would send, which was made with this context. Raises NoDryRun."""
    if not isinstance(task, Planner):
        raise NoDryRun(f"{task.name} sends no transactions of its own, so that a dry run would show nothing")
    try:
        authority = Authority(context)
        await authority.protocol()
        transactions: list[DryTransaction] = []
        obstacles: list[Obstacle] = []
        for plan in await task.plan():
            transactions += await _rehearsed(plan, authority, context)
            obstacles += plan.obstacles
    except TaskSkipped as error:
        return DryRun(task.name, skipped=error.message)
    except ZmartdError as error:
        return DryRun(task.name, failure=error.message)
    return DryRun(task.name, tuple(transactions), tuple(obstacles))


async def _rehearsed(plan: Plan, authority: Authority, context: TaskContext) -> list[DryTransaction]:
    if not plan.meant:
        return []
    standing = await _standing(context.database, plan.meant)
    found = _under_way(plan.meant, standing)
    free = [one for one in plan.meant if one.market.id not in standing]
    most = context.network_fees.max_markets_per_transaction
    packs = packed(free, authority.address, most) if plan.together else [[one] for one in free]
    for pack in packs:
        parts = [part for part, _ in await authority.fitting(pack)]
        fitting = {one.market.id for part in parts for one in part}
        parts += [[one] for one in pack if one.market.id not in fitting]
        for part in parts:
            found.append(await _tried(part, authority, context))
    return found


async def _standing(database: Database, meant: Sequence[Meant]) -> dict[str, Standing]:
    async with database.service_reader() as connection:
        return await standing_for(connection, [one.intent for one in meant])


def _under_way(meant: Sequence[Meant], standing: Mapping[str, Standing]) -> list[DryTransaction]:
    by_signature: dict[str, list[Meant]] = {}
    for one in meant:
        if one.market.id in standing:
            by_signature.setdefault(standing[one.market.id].transaction.signature, []).append(one)
    return [replace(_described(part), under_way=signature) for signature, part in by_signature.items()]


async def _tried(part: Sequence[Meant], authority: Authority, context: TaskContext) -> DryTransaction:
    instructions = instructions_of(part)
    tried = await authority.budgets.tried(instructions, authority.address)
    if tried.err is not None:
        failure = explain_failure(tried.err, tried.logs, context.program.idl)
        return replace(
            _described(part),
            units=tried.units,
            failure=f"{failure.name}: {failure.message}",
            logs=tuple(tried.logs or ()),
        )
    limit = authority.budgets.limit(tried.units)
    async with context.database.service_reader() as connection:
        expired = await expired_before(connection, [one.intent for one in part])
    price = await authority.budgets.price(instructions, limit, expired)
    fee = LAMPORTS_PER_SIGNATURE + lamports_for(limit, price)
    return replace(_described(part), units=tried.units, units_limit=limit, fee_lamports=fee)


def _described(part: Sequence[Meant]) -> DryTransaction:
    return DryTransaction(
        purpose=part[0].purpose,
        market_ids=tuple(one.market.id for one in part),
        details=tuple(one.detail for one in part),
    )
