from __future__ import annotations

import msgspec

from zmartd.tasks.actions import NAMED, Actions, bounded
from zmartd.tasks.base import TaskAction


def failed(number: int) -> TaskAction:
    return TaskAction(f"{number:064x}", "settle", ok=False, detail="no")


def test_a_report_of_few_actions_is_as_the_task_gave_it() -> None:
    given = (failed(1), TaskAction(None, "stuck", ok=False), failed(2), TaskAction("ab", "settle", ok=True))
    assert bounded(given) == given


def test_a_report_names_the_first_actions_of_each_kind_and_counts_the_others() -> None:
    other = TaskAction("ab", "settle", ok=True)
    reported = bounded([*map(failed, range(NAMED + 980)), other])
    assert reported == (
        *map(failed, range(NAMED)),
        other,
        TaskAction(None, "settle", ok=False, detail="and 980 more of them", times=980),
    )
    assert bounded(reported) == reported


def test_a_report_is_as_long_for_a_million_markets_as_for_a_thousand() -> None:
    few, many = (len(msgspec.json.encode(bounded(map(failed, range(count))))) for count in (10**3, 10**6))
    assert many - few < 10


def test_every_action_is_counted_whether_it_is_named_or_not() -> None:
    actions = Actions(map(failed, range(3 * NAMED)))
    actions.add(TaskAction(None, "settle", ok=True, times=5))
