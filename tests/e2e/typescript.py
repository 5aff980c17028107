"""Scripts for node, and the npm packages that they need."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

INSTALL_SECONDS, SCRIPT_SECONDS = 900, 600
"""Upper bounds for a machine that is many times slower; the usual is 15 and 4."""

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node and npm are not installed"
)


def node_modules_of(directory: Path) -> Path:
    """The packages of the directory's package-lock.json, installed once for each lock file."""
    lock = hashlib.sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    target = Path(tempfile.gettempdir()) / f"zmartd-{directory.name}-{lock[:16]}-{os.getuid()}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-"))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(directory / name, unfinished)
        install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
        subprocess.run((*install, "--omit=peer"), cwd=unfinished, check=True, timeout=INSTALL_SECONDS)
        try:
            unfinished.rename(target)
        except OSError:  # another run was faster
            shutil.rmtree(unfinished)
    return target / "node_modules"


async def run_node(*arguments: str) -> bytes:
    """What the script prints. Fails the test, showing what it said, when it does not end well."""
    process = await asyncio.create_subprocess_exec(
        "node", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), SCRIPT_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return output
