"""Runs generators, compilers and generated clients."""

from __future__ import annotations

import subprocess
from pathlib import Path

PATIENCE_SECONDS = 300


def run(directory: Path, *command: str | Path) -> str:
    """What the command says. AssertionError, with all of that, when it fails."""
    done = subprocess.run(
        command, cwd=directory, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
