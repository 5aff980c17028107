"""Files with keys and secrets, which no other user may read or write."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from zmartd.errors import ZmartdError

MAX_BYTES = 65_536
"""More than any key file has."""
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Names the directory of a service's credentials, which systemd lets only that service read."""


class ExposedFile(ZmartdError):
    """A file with a key in it can be read or changed by others."""

    code = "exposed_file"


def write_private(file: Path, text: str) -> None:
    """Write a file atomically that only its owner may read."""
    draft = file.with_name(f"{file.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    draft.replace(file)


def read_private(file: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The text of a file that other users may neither read nor change.

    Raises ExposedFile when they may, with the command that changes it; OSError or UnicodeDecodeError.
    """
    # The opened file is checked, since another one may get its name meanwhile. O_NONBLOCK: it may be a pipe.
    with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
        problem = exposure(file, os.fstat(opened.fileno()), environ)
        if problem:
            raise ExposedFile(problem)
        return opened.read(MAX_BYTES).decode()


def exposure(file: Path, status: os.stat_result, environ: Mapping[str, str] = os.environ) -> str | None:
    """Who else may read or change the file, and the command that changes it; None when nobody may.

    Credentials of systemd are accepted as they are: they belong to root, and the access control list that
    lets the service read them looks like a group's permission.
    """
    name = shlex.quote(str(file))
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is no regular file: give the path of one"
    credentials = environ.get(CREDENTIALS_VARIABLE)
    if credentials and file.parent.resolve() == Path(credentials).resolve():
        return None
    if status.st_uid not in {0, os.geteuid()}:
        return (
            f"{name} belongs to the user {_user(status.st_uid)}, who can read and replace it: "
            f"`chown {_user(os.geteuid())} {name}`, or run zmartd as that user"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        return f"{name} is open to other users (mode {mode:04o}): `chmod 600 {name}`"
    return None


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
