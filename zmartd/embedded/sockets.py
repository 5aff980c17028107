"""The directories of embedded servers' Unix sockets, whose paths may have 107 bytes at most."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from zmartd.embedded.server_process import EmbeddedServerError

MAX_SOCKET_PATH_BYTES = 107
_LONGEST_NAME_BYTES = len("/.s.PGSQL.5432.lock")


def socket_directory(data_directory: Path, uid: int) -> Path:
    """A directory with a short path, private to `uid`, for the sockets of the server of `data_directory`.

    It is the same at each start, so that a killed server leaves nothing behind. Raises EmbeddedServerError
    when it exists and belongs to another user.
    """
    digest = hashlib.sha256(os.fsencode(data_directory.resolve())).hexdigest()[:12]
    directory = _base() / f"zmartd-{uid}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if directory.is_symlink() or found.st_uid not in {uid, os.geteuid()}:
        raise EmbeddedServerError(f"{directory} belongs to another user: remove it and start again")
    directory.chmod(0o700)
    if found.st_uid != uid:
        os.chown(directory, uid, -1)
    return directory


def _base() -> Path:
    """$XDG_RUNTIME_DIR, except for root, whose servers run as a user that cannot enter it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for candidate in ("" if os.geteuid() == 0 else runtime, tempfile.gettempdir()):
        if candidate and os.access(candidate, os.W_OK) and _leaves_room(candidate):
            return Path(candidate)
    return Path("/tmp")  # noqa: S108 - socket_directory() checks the owner


def _leaves_room(base: str) -> bool:
    longest_directory = len(os.fsencode(base)) + len("/zmartd-4294967295-000000000000")
    return longest_directory + _LONGEST_NAME_BYTES <= MAX_SOCKET_PATH_BYTES
