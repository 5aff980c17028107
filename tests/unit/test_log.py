from __future__ import annotations

import io
import json
import logging

import pytest
from aiohttp.log import ws_logger
from msgspec import Struct

from zmartd import log


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


def test_our_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    log.configure("warning", "json", stream)
    log.get_logger("test").info("too.small")
    log.get_logger("test").warning("large.enough")
    assert [json.loads(line)["action"] for line in stream.getvalue().splitlines()] == ["large.enough"]


def test_a_line_with_what_is_no_proper_text_or_no_json_is_written_all_the_same() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.get_logger("test").info("odd.values", path="/\ud800", lamports=2**70, thing=object)
    line = json.loads(stream.getvalue())
    assert (line["path"], line["lamports"]) == ("/\ud800", 2**70)
    assert "object" in line["thing"]


class Told(Struct):
    action: str
    path: str


@pytest.mark.parametrize("path", ["/markets", "/\ud800"])
def test_lines_that_are_written_together_are_lines_like_any_other(path: str) -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.write_lines("test", [Told("one.told", "/"), Told("two.told", path)])
    log.get_logger("test").info("three.told")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["action"] for line in lines] == ["one.told", "two.told", "three.told"]
    assert lines[1]["path"] == path


@pytest.mark.parametrize(("level", "fmt", "written"), [("info", "console", True), ("warning", "json", False)])
def test_lines_written_together_keep_to_format_and_level(
    level: log.Level, fmt: log.Format, *, written: bool
) -> None:
    stream = io.StringIO()
    log.configure(level, fmt, stream)
    log.write_lines("test", [Told("one.told", "/markets")])
    assert ("one.told" in stream.getvalue()) == written


def test_a_stream_that_takes_no_more_stops_nobody() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    lines = log.get_logger("test")
    stream.close()
    lines.info("nobody.hears")
    log.configure("info", "json", FullDisk())
    log.get_logger("test").info("nobody.hears")


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError("No space left on device")


def test_what_clients_send_in_a_websocket_handshake_is_not_written() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    ws_logger.warning("Client protocols %r", ["x" * 8_000])
    ws_logger.error("the socket broke")
    assert [json.loads(line)["action"] for line in stream.getvalue().splitlines()] == ["the socket broke"]


class ServerError(Exception):
    sqlstate = "53100"


def fail_for(error: Exception) -> None:
    raise RuntimeError("it failed") from error


def test_an_error_of_postgres_has_its_sqlstate_wherever_it_is_logged() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    try:
        fail_for(ServerError("kein Platz mehr"))
    except RuntimeError as error:
        log.get_logger("test").exception("one.failed")
        log.get_logger("test").warning("two.failed", exc_info=error)
    log.get_logger("test").info("three.done")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("sqlstate") for line in lines] == ["53100", "53100", None]
