from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from zmartd import log


@pytest.fixture(autouse=True)
def _untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def failing_with(secret: str) -> None:
    held = f"the key is {secret}"
    raise RuntimeError(len(held))


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_a_traceback_shows_no_local_variables(fmt: log.Format) -> None:
    stream = io.StringIO()
    log.configure("info", fmt, stream)
    try:
        failing_with("".join(["hunt", "er2"]))
    except RuntimeError:
        log.get_logger("test").exception("something.failed")
    written = stream.getvalue()
    assert "something.failed" in written
    assert "RuntimeError" in written
    assert "hunter2" not in written


def test_each_json_line_names_its_action_level_and_logger() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.get_logger("zmartd.test").info("inbox.parked", delivery=7)
    logging.getLogger("library").warning("from the standard library")
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["action"], ours["delivery"], ours["level"]) == ("inbox.parked", 7, "info")
    assert ours["logger"] == "zmartd.test"
    assert theirs["action"] == "from the standard library"
