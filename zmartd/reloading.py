"""What of a changed configuration a running daemon takes over, and what waits until it is started again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from zmartd.config import Settings
from zmartd.config_file import settings_table
from zmartd.config_values import ConfigError, Secret
from zmartd.log import get_logger

log = get_logger(__name__)

Apply = Callable[[Settings], Awaitable[None] | None]
"""Takes over its settings from the new ones. Where these cannot be used it changes nothing, and raises
ConfigError."""

NAMES: Final = tuple(setting.name for setting in settings_table())


class Reloads:
    """Takes over what `on` has named."""

    def __init__(self, settings: Settings) -> None:
        """`settings`: those that the daemon was started with."""
        self._running = {name: _value(settings, name) for name in NAMES}
        self._applies: dict[str, Apply] = {}

    @property
    def names(self) -> frozenset[str]:
        """The settings that are taken over."""
        return frozenset(self._applies)

    def on(self, *names: str, apply: Apply) -> None:
        """Call `apply` once where any of these settings has changed."""
        for name in names:
            assert name in self._running, f"there is no setting {name}"
            self._applies[name] = apply

    async def reload(self, load: Callable[[], Settings]) -> None:
        """Load the settings again, take over what can be, and log the names of what has changed.

        It raises nothing: with settings that cannot be used the daemon goes on as it was.
        """
        try:
            settings = load()
        except ConfigError as error:
            log.warning("config.not_reloaded", problem=error.message)
            return
        changed = [name for name in NAMES if _value(settings, name) != self._running[name]]
        applied: list[str] = []
        refused: set[str] = set()
        for apply in dict.fromkeys(self._applies[name] for name in changed if name in self._applies):
            mine = [name for name in changed if self._applies.get(name) is apply]
            try:
                waiting = apply(settings)
                if waiting is not None:
                    await waiting
            except ConfigError as error:
                log.warning("config.not_reloaded", settings=mine, problem=error.message)
                refused.update(mine)
            else:
                self._running.update({name: _value(settings, name) for name in mine})
                applied += mine
        log.info("config.reloaded", applied=applied)
        kept = [name for name in changed if name not in applied and name not in refused]
        if kept:
            log.warning("config.restart_needed", settings=kept, advice="they are as before until a restart")


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value.reveal() if isinstance(value, Secret) else value
