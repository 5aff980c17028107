"""How often the daemon's periodic tasks have run, from its metrics."""

from __future__ import annotations

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from zmartd.embedded.demo.polling import wait_for

_FAMILY = "zmartd_task_runs"


class TaskRuns:
    """Reads GET /metrics on the operator's listener."""

    def __init__(self, session: ClientSession, operator: str) -> None:
        self._session = session
        self._operator = operator

    async def completed(self, task: str) -> int:
        """The completed runs of `task` since the daemon's start."""
        async with self._session.get(f"{self._operator}/metrics") as response:
            text = await response.text()
        return completed_runs(text, task)

    async def wait_for_whole_run_of(self, task: str) -> None:
        """Wait until a run that began after this call has ended. Raises WaitTimedOut."""
        before = await self.completed(task)

        # The first run to end may have begun before the call, so the second is awaited.
        async def ran() -> bool | None:
            return await self.completed(task) >= before + 2 or None

        await wait_for(ran, f"the task {task} did not run again")


def completed_runs(metrics: str, task: str) -> int:
    """The count in Prometheus' text format; 0 where there is none."""
    wanted = {"task": task, "outcome": "done"}
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(metrics)
        if family.name == _FAMILY
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels == wanted
    )
