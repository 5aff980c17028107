"""The keys that sign what the daemon gives out: one to sign with, and that before a rotation to read with."""

from __future__ import annotations

from zmartd.config import Auth, ConfigError

MIN_LENGTH = 32


def signing_secrets(settings: Auth) -> tuple[str, ...]:
    """The present secret, then the previous one if there is one.

    Raises ConfigError when one is too short to keep anybody from forging what it signs.
    """
    secret, previous = settings.jwt_secret.reveal(), settings.jwt_secret_previous.reveal()
    secrets = (secret, previous) if previous else (secret,)
    problems = [
        f"auth.{name}: it has {len(value)} characters and needs at least {MIN_LENGTH}; "
        "`openssl rand -hex 32` makes one"
        for name, value in zip(("jwt_secret", "jwt_secret_previous"), secrets, strict=False)
        if len(value) < MIN_LENGTH
    ]
    if problems:
        raise ConfigError(problems)
    return secrets


def audience_of(cluster: str, program_id: str) -> str:
    """What tokens and nonces are for: those of one program on one cluster are nothing to another, even where
    both are signed with the same secret.
    """
    return f"zmartd:{cluster}:{program_id}"
