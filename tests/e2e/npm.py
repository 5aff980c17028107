"""Packages of npm and scripts for node, for tests that run TypeScript clients."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

INSTALL_SECONDS = 900
"""For a machine that is many times slower; the usual is 15."""

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node and npm are not installed"
)


def installed_packages(of: Path) -> Path:
    """The `node_modules` of the package-lock.json in `of`, installed once for each lock file."""
    lock = hashlib.sha256((of / "package-lock.json").read_bytes()).hexdigest()
    target = Path(tempfile.gettempdir()) / f"zmartd-npm-{lock[:16]}-{os.getuid()}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-"))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(of / name, unfinished)
        install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
        subprocess.run(install, cwd=unfinished, check=True, timeout=INSTALL_SECONDS)
        try:
            unfinished.rename(target)
        except OSError:  # another run was faster
            shutil.rmtree(unfinished)
    return target / "node_modules"
