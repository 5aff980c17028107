from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zmartd.private_file import ExposedFile, exposure, read_private, write_private

KEY = "a key"
STRANGER = 4_321
"""A user that is neither root nor the one who runs the tests."""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "authority key.json"
    write_private(file, KEY)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_one_s_own_is_read(key: Path, mode: int) -> None:
    key.chmod(mode)
    assert read_private(key, {}) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_a_file_that_others_may_open_is_refused_with_what_to_type(key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(ExposedFile) as caught:
        read_private(key, {})
    assert f"(mode {mode:04o}): `chmod 600 '{key}'`" in caught.value.message


def test_a_link_is_judged_by_what_it_leads_to(key: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key)
    assert read_private(link, {}) == KEY
    key.chmod(0o644)
    with pytest.raises(ExposedFile):
        read_private(link, {})


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_keeps_nobody_waiting(
    make: Callable[[Path, int], None], tmp_path: Path
) -> None:
    make(tmp_path / "thing", 0o600)
    with pytest.raises((ExposedFile, IsADirectoryError)):
        read_private(tmp_path / "thing", {})


@pytest.mark.parametrize(
    ("owner", "said"), [(STRANGER, "belongs to the user 4321"), (0, None), (os.geteuid(), None)]
)
def test_only_root_and_oneself_may_own_it(key: Path, owner: int, said: str | None) -> None:
    status = key.stat()
    problem = exposure(key, os.stat_result((*status[:4], owner, *status[5:10])), {})
    assert problem is None if said is None else said in (problem or "") and "`chown " in (problem or "")


def test_a_credential_of_systemd_is_taken_as_it_is(key: Path, tmp_path: Path) -> None:
    key.chmod(0o440)  # what an access control list for the service looks like
    assert read_private(key, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == KEY
    for elsewhere in (tmp_path.parent, tmp_path / "other"):
        with pytest.raises(ExposedFile):
            read_private(key, {"CREDENTIALS_DIRECTORY": str(elsewhere)})
