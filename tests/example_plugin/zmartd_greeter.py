"""A periodic task of another package: it greets as often as its settings say."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from zmartd.schedule import Cron, Schedule
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext


class GreeterSettings(Struct, frozen=True, kw_only=True):
    """The table `[tasks.greeter]` of zmartd.toml."""

    enabled: bool = True
    greeting: Annotated[str, Meta(min_length=1, max_length=80, description="what it says")]
    times: Annotated[int, Meta(ge=1, le=10, description="how often it says it in one run")] = 1
    cron: Annotated[str, Meta(description="when it runs")] = "0 9 * * MON-FRI"
    time_zone: Annotated[str, Meta(description="the time zone that cron is in")] = "Europe/Berlin"


class Greeter:
    """A `PeriodicTask`; see zmartd.tasks.base."""

    name = "greeter"
    settings_type: ClassVar[type[Struct]] = GreeterSettings

    def __init__(self, context: TaskContext, settings: GreeterSettings) -> None:
        self.enabled = settings.enabled
        self.schedule = Schedule(timing=Cron(settings.cron, settings.time_zone), catch_up="none")
        self._settings = settings

    async def run(self) -> list[TaskAction]:
        return [TaskAction(None, "greet", ok=True, detail=self._settings.greeting)] * self._settings.times
