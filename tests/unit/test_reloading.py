from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from zmartd.config import Settings
from zmartd.config_values import ConfigError, PostgresUrl
from zmartd.reloading import NAMES, Reloads

FIRST = Settings()


def changed(**sections: dict[str, Any]) -> Settings:
    return msgspec.structs.replace(
        FIRST,
        **{
            name: msgspec.structs.replace(getattr(FIRST, name), **values) for name, values in sections.items()
        },
    )


async def told(reloads: Reloads, load: Callable[[], Settings]) -> list[tuple[str, Any]]:
    """The lines of the log, without their levels."""
    with structlog.testing.capture_logs() as lines:
        await reloads.reload(load)
    return [
        (line["event"], line.get("applied") or line.get("settings") or line.get("problem")) for line in lines
    ]


async def test_what_has_changed_is_taken_over_once_and_the_rest_waits_for_a_restart() -> None:
    reloads, applied = Reloads(FIRST), list[str]()

    async def lead_to(new: Settings) -> None:
        applied.append(new.redis.url.reveal())

    reloads.on("log.level", "log.format", apply=lambda new: applied.append(new.log.level))
    reloads.on("redis.url", apply=lead_to)
    new = changed(log={"level": "debug", "format": "console"}, server={"port": 4_444})
    lines = [("config.reloaded", ["log.level", "log.format"]), ("config.restart_needed", ["server.port"])]
    assert await told(reloads, lambda: new) == lines
    assert applied == ["debug"]
    # What waits is said again, and what was taken over is not.
    assert await told(reloads, lambda: new) == [("config.reloaded", None), lines[1]]
    assert await told(reloads, lambda: FIRST) == [("config.reloaded", ["log.level", "log.format"])]
    assert applied == ["debug", "info"]


async def test_with_settings_that_cannot_be_used_everything_stays_as_it_is() -> None:
    reloads, applied = Reloads(FIRST), list[str]()

    def refuse(_: Settings) -> None:
        raise ConfigError(["it is no key"])

    def unreadable() -> Settings:
        raise ConfigError(["there is no such setting"])

    reloads.on("log.level", apply=lambda new: applied.append(new.log.level))
    reloads.on("auth.token_seconds", apply=refuse)
    assert await told(reloads, unreadable) == [("config.not_reloaded", "there is no such setting")]
    assert applied == []
    new = changed(log={"level": "debug"}, auth={"token_seconds": 60})
    refused = ("config.not_reloaded", ["auth.token_seconds"])
    assert await told(reloads, lambda: new) == [refused, ("config.reloaded", ["log.level"])]
    assert await told(reloads, lambda: new) == [refused, ("config.reloaded", None)]


async def test_no_secret_is_written_into_the_log() -> None:
    with structlog.testing.capture_logs() as lines:
        await Reloads(FIRST).reload(
            lambda: changed(database={"url": PostgresUrl("postgresql://a:hunter2@db/zmartd")})
        )
    assert "hunter2" not in str(lines)
    assert "database.url" in str(lines)


def test_every_setting_is_looked_at() -> None:
    assert {"database.url", "log.level", "alerts.webhook.secret", "tasks.auditor.enabled"} <= set(NAMES)
