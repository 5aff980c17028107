"""What a run did, in so few words that it does not matter with how many markets it did it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zmartd.tasks.base import TaskAction

NAMED: Final = 20
"""The most actions of one kind that are kept one by one."""

_Kind = tuple[str, bool, bool, bool]


class Actions:
    """Collects the actions of a run: the first NAMED of each kind, and how many more there were."""

    def __init__(self, actions: Iterable[TaskAction] = ()) -> None:
        self._named: list[TaskAction] = []
        self._counts: dict[_Kind, int] = {}
        self.extend(actions)

    def add(self, action: TaskAction) -> None:
        kind = (action.action, action.ok, action.awaits_admin, action.routine)
        before = self._counts.get(kind, 0)
        self._counts[kind] = before + action.times
        if before < NAMED and action.times == 1:
            self._named.append(action)

    def extend(self, actions: Iterable[TaskAction]) -> None:
        for action in actions:
            self.add(action)

    def listed(self) -> list[TaskAction]:
        """All of them, those that are not named together as one of each kind."""
        named: dict[_Kind, int] = {}
        for one in self._named:
            kind = (one.action, one.ok, one.awaits_admin, one.routine)
            named[kind] = named.get(kind, 0) + 1
        return self._named + [
            _together(kind, times - named.get(kind, 0))
            for kind, times in self._counts.items()
            if times > named.get(kind, 0)
        ]


def _together(kind: _Kind, times: int) -> TaskAction:
    action, ok, awaits_admin, routine = kind
    detail = f"and {times} more of them"
    return TaskAction(
        None, action, ok, detail=detail, awaits_admin=awaits_admin, routine=routine, times=times
    )


def bounded(actions: Iterable[TaskAction]) -> tuple[TaskAction, ...]:
    """These actions as they are kept in the ledger and logged."""
    return tuple(Actions(actions).listed())
