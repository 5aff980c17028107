"""A running `zmartd dev`, as the command line starts it, and the processes that belong to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

GONE_SECONDS = 120


class Development:
    """A running `zmartd dev` and what it said when it was ready."""

    def __init__(self, directory: Path, *options: str) -> None:
        command = [sys.executable, "-m", "zmartd", "dev", "--data-dir", str(directory)]
        ports = ["--port", "0", "--rpc-port", "0"]
        self.process = subprocess.Popen(
            [*command, *ports, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.doors: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.directory = directory

    def get(self, door: str, path: str) -> Any:
        with urllib.request.urlopen(self.doors[door] + path, timeout=120) as answer:
            return json.load(answer)

    def rpc(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(
            self.doors["rpc"], data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["result"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        configuration = str(self.directory / "zmartd.toml")
        return subprocess.run(
            [sys.executable, "-m", "zmartd", *arguments, "--config", configuration],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def stop(self, number: signal.Signals) -> str:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=GONE_SECONDS)
        return errors


def processes_of(directory: Path) -> dict[int, str]:
    """The command lines of processes that name the data directory, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(directory) in line:
                found[int(entry.name)] = line
    return found


def wait_until_gone(directory: Path) -> list[str]:
    """The command lines of processes that do not end. They are killed, so that they disturb no other test."""
    deadline = time.monotonic() + GONE_SECONDS
    while (left := processes_of(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return list(left.values())
