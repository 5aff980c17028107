"""Programs that tests need and that no Python package has: the installed one, or else Debian's.

A package is unpacked into a directory of the user: that needs apt, but no root. Where a program is not to be
had in either way, tests that need it are skipped and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_DOWNLOAD_SECONDS = 300
_LIBRARY = re.compile(r"^\s*Depends: (lib(?!c6$)\S+)$", re.MULTILINE)


class NotToBeHad(Exception):
    """A program is not installed, and cannot be downloaded; the text says why."""


class Program(NamedTuple):
    """Where a program is, and the directories of its libraries, as LD_LIBRARY_PATH has them."""

    path: Path
    libraries: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which it runs."""
        return {"LC_ALL": "C", "PATH": os.defpath, "LD_LIBRARY_PATH": self.libraries}


def debian_program(name: str, package: str, directory: str = "usr/sbin") -> Program:
    """The program `name`, which `package` has in `directory`. Raises NotToBeHad."""
    installed = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if installed:
        return Program(Path(installed), "")
    unpacked = Path(tempfile.gettempdir()) / f"zmartd-tests-{os.geteuid()}" / package
    program = unpacked / directory / name
    if not program.exists():
        try:
            _unpack(package, unpacked)
        except (OSError, subprocess.SubprocessError) as error:
            if not program.exists():  # nor has another run unpacked it meanwhile
                raise NotToBeHad(f"{name} is not installed, nor can apt download it: {error}") from error
    libraries = (*unpacked.glob("usr/lib/*-linux-gnu*"), *unpacked.glob("usr/lib/*-linux-gnu*/systemd"))
    return Program(program, ":".join(map(str, libraries)))


def _unpack(package: str, directory: Path) -> None:
    """Download Debian's package with the libraries that it needs, and unpack them into `directory`."""
    directory.parent.mkdir(mode=0o755, exist_ok=True)
    if directory.parent.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{directory.parent} belongs to another user")
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        work = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (work / part).mkdir(parents=True)
        apt = (
            "-o",
            f"Dir::State={work}/state",
            "-o",
            f"Dir::Cache={work}/cache",
            "-o",
            "APT::Sandbox::User=",
        )
        _run(work, "apt-get", *apt, "update")
        dependencies = _run(work, "apt-cache", *apt, "depends", package)
        _run(work, "apt-get", *apt, "download", package, *_LIBRARY.findall(dependencies))
        unpacked = work / "unpacked"
        unpacked.mkdir(mode=0o755)
        for archive in work.glob("*.deb"):
            _run(work, "dpkg-deb", "-x", str(archive), str(unpacked))
        unpacked.chmod(0o755)
        unpacked.rename(directory)


def _run(directory: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=directory, check=True, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS
    )
    return done.stdout
