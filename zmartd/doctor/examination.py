"""Runs checks: all that can, at the same time, whatever the others find."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
from redis.exceptions import RedisError

from zmartd import config_file, endpoint
from zmartd.clock import Clock
from zmartd.doctor.check import Check, Finding, Outcome, failed
from zmartd.doctor.patient import Patient
from zmartd.errors import ZmartdError

_REPORT = "this is a mistake in the check: run it again, and report it if it stays"


async def examine(
    path: Path | None, checks: Sequence[Check], clock: Clock, *, fix: bool = False
) -> list[Finding]:
    """The findings of all checks in order. With `fix`, what can be mended safely is, and looked at again.

    `path` is that of a configuration file, as for `config_file.read`.
    """
    outcomes = await _examined(path, checks, clock)
    mended = {}
    if fix:
        for name, found in outcomes.items():
            for outcome in found:
                if outcome.fix is not None:
                    await _mend(outcome)
                    mended[name, outcome.detail] = outcome
    if mended:
        outcomes = await _examined(path, checks, clock)
    findings = []
    for name, found in outcomes.items():
        findings += [Finding(name, one.verdict, one.detail, one.remedy) for one in found]
        still = {one.detail for one in found}
        findings += [
            Finding(name, "ok", f"mended: {detail}", fixed=True)
            for (check, detail) in mended
            if check == name and detail not in still
        ]
    return findings


async def _mend(outcome: Outcome) -> None:
    """What could not be mended is found again."""
    assert outcome.fix is not None
    try:
        await outcome.fix()
    except (ZmartdError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError):
        return


async def _examined(
    path: Path | None, checks: Sequence[Check], clock: Clock
) -> Mapping[str, Sequence[Outcome]]:
    async with AsyncExitStack() as resources:
        patient = Patient(config_file.read(path), path, clock, resources)
        looks: dict[str, asyncio.Task[Sequence[Outcome]]] = {}
        for check in checks:
            looks[check.name] = asyncio.create_task(_look(check, patient, dict(looks)))
        return {name: await look for name, look in looks.items()}


async def _look(
    check: Check, patient: Patient, before: Mapping[str, asyncio.Task[Sequence[Outcome]]]
) -> Sequence[Outcome]:
    unknown = [name for name in check.uses if name in patient.reading.unusable]
    if unknown:
        return [Outcome("skipped", f"not looked at, because of {', '.join(unknown)}")]
    for name in check.needs:
        if any(one.verdict in {"failed", "skipped"} for one in await before[name]):
            return [Outcome("skipped", f"not looked at, because of {name}")]
    try:
        async with asyncio.timeout(check.patience_seconds):
            return await check.look(patient)
    except TimeoutError:
        return [failed(f"no answer within {check.patience_seconds:g} s", check.remedy)]
    except ZmartdError as error:
        return [failed(error.message, check.remedy)]
    except asyncpg.PostgresError as error:
        return [failed(f"Postgres refused to say (SQLSTATE {error.sqlstate})", check.remedy)]
    except (OSError, RedisError, asyncpg.InterfaceError) as error:
        return [failed(f"could not be looked at ({endpoint.reason(error)})", check.remedy)]
    except Exception as error:
        # Its message may quote a secret.
        return [failed(f"the check broke ({type(error).__name__})", _REPORT)]
