"""The secrets that sign tokens and nonces, and the audience that they are for."""

from __future__ import annotations

from zmartd.config import AuthSettings
from zmartd.config_values import ConfigError


def signing_secrets(settings: AuthSettings) -> tuple[str, ...]:
    """The secret to sign with, then, during a rotation, the previous one. Raises ConfigError without any."""
    if not settings.jwt_secret:
        raise ConfigError(["auth.jwt_secret: sessions need a key; `openssl rand -hex 32` makes one"])
    return tuple(secret.reveal() for secret in (settings.jwt_secret, settings.jwt_secret_previous) if secret)


def audience_of(cluster: str, program_id: str) -> str:
    """The audience of tokens and nonces: one program on one cluster. Others refuse them even where they have
    the same secret.
    """
    return f"zmartd:{cluster}:{program_id}"
