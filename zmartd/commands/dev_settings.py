"""The settings of `zmartd dev`: the environment, then a file that belongs to the developer, then its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from solders.keypair import Keypair

from zmartd import config, config_file
from zmartd.alert_settings import AlertSettings
from zmartd.commands.instance import SETTINGS
from zmartd.config_values import SharedSecret
from zmartd.embedded.chain import PROGRAM_ID
from zmartd.private_file import write_private
from zmartd.task_settings import (
    LeaderboardSettings,
    MarketMonitorSettings,
    ReconcilerSettings,
    TaskSettings,
)

AUTHORITY_FILE: Final = "authority.json"
TREASURY_FILE: Final = "treasury.json"

_ITS_OWN: Final = "zmartd dev runs its own {}: remove this, or run `zmartd serve` on servers of your own"
OWN_SETTINGS: Final = {
    "server.environment": "zmartd dev is for development: remove this, or run `zmartd serve`",
    "database.url": _ITS_OWN.format("Postgres"),
    "database.replica_url": _ITS_OWN.format("Postgres, without a replica"),
    "redis.url": _ITS_OWN.format("Valkey"),
    **dict.fromkeys(
        (
            "solana.rpc_url",
            "solana.cluster",
            "solana.program_id",
            "solana.authority_keypair_path",
            "solana.authority_secret_key",
        ),
        _ITS_OWN.format("Solana chain, with a program and an authority on it"),
    ),
}
"""The settings that nobody else decides, each with what is said to whoever tries."""

_HEADER: Final = f"""\
# The settings of `zmartd dev` in this folder. This file is yours: zmartd writes it where there is none, and
# --reset keeps it. Any setting of zmartd may stand here, except the servers that `zmartd dev` runs itself.
# A variable like {config_file.ENVIRONMENT_PREFIX}VOTING_MIN_PROPOSAL_VOTES wins over it, and an option like
# --port over both.
#
# This is what `zmartd dev` sets for one machine; take the # away and change it.

"""


def defaults(directory: Path) -> config.Settings:
    """Short intervals and large limits for one machine, with the keys and secrets in `directory`."""
    return msgspec.structs.replace(
        _DEFAULTS,
        solana=config.SolanaSettings(
            cluster="localnet", program_id=PROGRAM_ID, authority_keypair_path=str(directory / AUTHORITY_FILE)
        ),
        helius=config.HeliusSettings(authorization=SharedSecret(_secret(directory / "webhook-secret"))),
        auth=config.AuthSettings(
            jwt_secret=SharedSecret(_secret(directory / "jwt-secret")),
            domains=_domains(_DEFAULTS.server.port),
        ),
    )


def settings_file(directory: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The file that the settings come from: $ZMARTD_CONFIG, else dev.toml, which is made if it is missing."""
    named = environ.get(config_file.CONFIG_VARIABLE)
    if named:
        return Path(named)
    file = directory / SETTINGS
    if not file.exists():
        write_private(file, _template())
    return file


def load(directory: Path, file: Path, environ: Mapping[str, str] = os.environ) -> config.Settings:
    """The settings from the environment, `file` and the defaults. Raises ConfigError."""
    settings = config_file.load(file, environ, defaults=defaults(directory), fixed=OWN_SETTINGS)
    return _following_port(settings, _DEFAULTS.server.port)


def with_port(settings: config.Settings, port: int) -> config.Settings:
    """The settings with another port of the API; 0 is any free one."""
    server = msgspec.structs.replace(settings.server, port=port)
    return _following_port(msgspec.structs.replace(settings, server=server), settings.server.port)


def _domains(port: int) -> tuple[str, ...]:
    """The domains to sign in to unless others are chosen: the API's own, and that of a frontend beside it."""
    return (f"localhost:{port}", "localhost:3000")


def _following_port(settings: config.Settings, earlier: int) -> config.Settings:
    """The settings whose own domain has their port, where it had the port `earlier`."""
    port = settings.server.port
    if not port or settings.auth.domains != _domains(earlier):
        return settings
    auth = msgspec.structs.replace(settings.auth, domains=_domains(port))
    return msgspec.structs.replace(settings, auth=auth)


def keypair(file: Path) -> Keypair:
    """The keypair in a file as solana-keygen writes it; the file is made if missing."""
    if not file.exists():
        write_private(file, Keypair().to_json())
    return Keypair.from_json(file.read_text())


_DEFAULTS: Final = config.Settings(
    server=config.ServerSettings(environment="development", max_connections_per_ip=10_000),
    operator=config.OperatorSettings(port=0),
    rate_limits=config.AMPLE_RATE_LIMITS,
    realtime=config.RealtimeSettings(max_connections_per_ip=1_000, max_messages_per_minute=100_000),
    voting=config.VotingSettings(min_proposal_votes=3, proposal_min_balance_lamports=0, veto_seconds=0),
    tasks=TaskSettings(
        market_monitor=MarketMonitorSettings(stuck_after_seconds=31_536_000, overdue_for_seconds=60),
        reconciler=ReconcilerSettings(every_seconds=10.0),
        leaderboard=LeaderboardSettings(every_seconds=2.0),
    ),
    # The clock of a development chain is moved at will.
    alerts=AlertSettings(chain_skew_seconds=31_536_000),
    log=config.LogSettings(level="warning", format="console"),
)


def _template() -> str:
    """A dev.toml that sets nothing, and shows as comments what it may change."""
    server = msgspec.structs.replace(_DEFAULTS.server, environment=config.ServerSettings().environment)
    shown = config_file.to_toml(msgspec.structs.replace(_DEFAULTS, server=server))
    lines = (f"# {line}" if line and not line.startswith("[") else line for line in shown.splitlines())
    return _HEADER + "\n".join(lines) + "\n"


def _secret(file: Path) -> str:
    """The random secret in a file, which is made if missing."""
    if not file.exists():
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text()
