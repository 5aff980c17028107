"""Files with keys and secrets in them, which nobody else may read or write."""

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
"""Names the directory of a service's credentials, which systemd lets only the service enter."""


class ExposedFile(ZmartdError):
    """A file with a key in it can be read or changed by others."""

    code = "exposed_file"


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = file.with_name(f"{file.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    draft.replace(file)


def read_private(file: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The text of a file that others may neither read nor change.

    Raises ExposedFile when they may, saying what to type; OSError or UnicodeDecodeError when it is no text.
    """
    # What is looked at is what is read, whatever happens to the name meanwhile. A pipe would keep us waiting.
    with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
        problem = exposure(file, os.fstat(opened.fileno()), environ)
        if problem:
            raise ExposedFile(problem)
        return opened.read(MAX_BYTES).decode()


def exposure(file: Path, status: os.stat_result, environ: Mapping[str, str] = os.environ) -> str | None:
    """Who else may read or change the file, and what to type against it; None when nobody may.

    The credentials that systemd hands to a service belong to root, and an access control list that lets the
    service read them looks like the permission of a group: they are taken as they are.
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
