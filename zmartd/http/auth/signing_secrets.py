"""The keys that sign what the daemon gives out: one to sign with, and that before a rotation to read with."""

from __future__ import annotations

from zmartd.config import Auth, ConfigError


def signing_secrets(settings: Auth) -> tuple[str, ...]:
    """The present secret, then the previous one if there is one. Raises ConfigError without a present one."""
    if not settings.jwt_secret:
        raise ConfigError(["auth.jwt_secret: sessions need a key; `openssl rand -hex 32` makes one"])
    return tuple(secret.reveal() for secret in (settings.jwt_secret, settings.jwt_secret_previous) if secret)


def audience_of(cluster: str, program_id: str) -> str:
    """What tokens and nonces are for: those of one program on one cluster are nothing to another, even where
    both are signed with the same secret.
    """
    return f"zmartd:{cluster}:{program_id}"
