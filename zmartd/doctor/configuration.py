"""The settings themselves: all that `zmartd serve` would refuse, each alone."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from zmartd import __version__, config_file
from zmartd.alerts.receivers import require_secret
from zmartd.config_values import ConfigError
from zmartd.dependencies import authority_of, idl_of, next_authority_of, require_private_tls_keys
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.errors import ZmartdError
from zmartd.http.auth.signing_secrets import signing_secrets
from zmartd.http.machines.webhook_credentials import require_webhook_secret
from zmartd.http.machines.webhook_verification import require_room_for_bodies
from zmartd.private_file import exposure
from zmartd.tasks.plugins import task_names, unloadable

_SEE = "`zmartd config` shows what is in force and where it comes from"
_OWNER_ONLY = 0o600
_KEY_FILES: Final = {
    "solana.authority_keypair_path": authority_of,
    "solana.authority_next_keypair_path": next_authority_of,
}
"""The settings of files with keys, and what reads them."""


async def _settings(patient: Patient) -> Sequence[Outcome]:
    settings, reading = patient.settings, patient.reading
    found = [failed(problem, _SEE) for problem in reading.problems]
    requirements: list[tuple[tuple[str, ...], Callable[[], object]]] = [
        (("helius.authorization", "helius.hmac_secret"), lambda: require_webhook_secret(settings)),
        (("auth.jwt_secret",), lambda: signing_secrets(settings.auth)),
        (("alerts.webhook.url", "alerts.webhook.secret"), lambda: require_secret(settings.alerts)),
        (("helius.max_body_bytes",), lambda: require_room_for_bodies(settings.helius)),
        (("database.url", "database.replica_url", "redis.url"), lambda: require_private_tls_keys(settings)),
        (("solana.idl_path", "solana.program_id"), lambda: idl_of(settings.solana)),
    ]
    opened = _open_keys(patient)  # each is a finding of its own
    for setting, key_of in _KEY_FILES.items():
        if setting not in opened:
            requirements.append(((setting,), partial(key_of, settings.solana)))
    for used, require in requirements:
        if any(name in reading.unusable for name in used):
            continue
        try:
            require()
        except ConfigError as error:
            found += [failed(problem, _SEE) for problem in error.problems]
        except ZmartdError as error:
            found.append(failed(error.message, _SEE))
    found += [
        warning(problem, f"remove it, or upgrade zmartd: this is {__version__}")
        for problem in reading.warnings
    ]
    return found or [ok(f"environment {settings.server.environment}")]


async def _exposure(patient: Patient) -> Sequence[Outcome]:
    """Files with secrets that other users may read. Those with keys are refused at the start, too."""
    found, file = [], patient.reading.file
    exposed = config_file.exposed_secrets(file) if file is not None else None
    if file is not None and exposed:
        fix = _closing(file) if file.stat().st_uid == os.geteuid() else None
        found.append(warning(exposed, f"`chmod 600 {file}`", fix))
    for key in _open_keys(patient).values():
        cause = f"others could sign with the authority's key: {key} is open to other users"
        found.append(failed(cause, f"`chmod 600 {key}`", _closing(key)))
    return found or [ok("no other user of this machine can read them")]


def _open_keys(patient: Patient) -> dict[str, Path]:
    """The files of the authority's keys that are the operator's own and that others may read, by setting."""
    found = {}
    for setting in _KEY_FILES:
        name = getattr(patient.settings.solana, setting.partition(".")[2])
        file = Path(name)
        if name and file.is_file():
            status = file.stat()
            if exposure(file, status) and status.st_uid == os.geteuid():
                found[setting] = file
    return found


def _closing(file: Path) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        os.chmod(file, _OWNER_ONLY)

    return close


async def _plugins(patient: Patient) -> Sequence[Outcome]:
    broken = unloadable(tables=patient.settings.plugins)
    if not broken:
        return [ok(f"all {len(task_names())} tasks can be loaded")]
    return [
        failed(
            f"{one.name} ({one.target}) cannot be loaded, so it never runs: {one.problem}",
            f"correct its settings in [tasks.{one.name}], or install its package again",
        )
        for one in broken
    ]


CHECKS = (
    Check(
        name="configuration",
        look=_settings,
        about="every setting, secret and key file that `zmartd serve` needs or would refuse",
    ),
    Check(name="secrets", look=_exposure, about="files with secrets that other users may read"),
    Check(name="plugins", look=_plugins, about="tasks, also of other packages, that cannot be loaded"),
)
