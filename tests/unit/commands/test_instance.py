"""One `zmartd dev` holds a data directory; what a dead one left behind stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zmartd.commands import instance
from zmartd.commands.instance import AlreadyRunning, DataDirectoryInUse, Instance, claimed, find

HOLDER = """
import sys
from pathlib import Path
from zmartd.commands.instance import Instance, claimed
with claimed(Path(sys.argv[1])) as claim:
    claim.say(Instance(1234, "http://127.0.0.1:4000", "zmartd.toml"))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_directory_is_refused_and_found_and_free_when_its_holder_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "PATIENCE_SECONDS", 0.1)
    directory = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert find(directory) == Instance(1234, "http://127.0.0.1:4000", "zmartd.toml")
        with (
            pytest.raises(AlreadyRunning, match=r"here: http://127\.0\.0\.1:4000, process 1234") as refused,
            claimed(directory),
        ):
            pass
        assert refused.value.exit_code == 3
        holder.kill()
    assert b"1234" in (directory / "running.json").read_bytes()
    assert find(directory) is None
    with claimed(directory) as claim:
        assert find(directory) is None  # it is not ready
        claim.say(Instance(os.getpid(), "http://[::1]:1", "z"))
        assert find(directory) == Instance(os.getpid(), "http://[::1]:1", "z")
    assert find(directory) is None


def test_a_start_waits_for_one_that_is_ending_and_says_when_it_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "PATIENCE_SECONDS", 0.1)
    with claimed(tmp_path / "data"), pytest.raises(AlreadyRunning) as refused, claimed(tmp_path / "data"):
        pass
    assert f"process {os.getpid()}, starting or stopping" in refused.value.message


def test_only_an_empty_directory_or_one_of_zmartd_is_taken(tmp_path: Path) -> None:
    (tmp_path / "dev.toml").write_text("")
    with claimed(tmp_path):
        (tmp_path / "anything").write_text("")
    with claimed(tmp_path):
        pass
    (tmp_path / instance.MARKER).unlink()
    with pytest.raises(DataDirectoryInUse), claimed(tmp_path):
        pass


def test_where_nothing_is_nothing_is_found(tmp_path: Path) -> None:
    assert find(tmp_path / "missing") is None
    (tmp_path / instance.LOCK).write_text("rubbish")
    assert find(tmp_path) is None
