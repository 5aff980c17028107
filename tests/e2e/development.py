"""A running `zmartd dev`, as the command line starts it, and the processes that belong to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

GONE_SECONDS = 120
ZMARTD = (sys.executable, "-m", "zmartd")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}


class Development:
    """A `zmartd dev` that runs in `folder`, and what it said when it was ready. `directory` has its data."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        self.directory = folder / ".zmartd"
        self.process = subprocess.Popen(
            [*ZMARTD, "dev", "--port", "0", "--rpc-port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=ENVIRONMENT | environment,
        )
        assert self.process.stdout is not None
        self.doors: dict[str, Any] = json.loads(self.process.stdout.readline())

    def get(self, door: str, path: str) -> Any:
        with urllib.request.urlopen(self.doors[door] + path, timeout=120) as answer:
            return json.load(answer)

    def until_healthy(self) -> None:
        """Return when it can serve, as it says itself: on a busy machine a probe may be late."""
        while True:
            try:
                assert self.get("api", "/health") == {"status": "ok"}
            except urllib.error.HTTPError as error:
                assert error.code == 503  # noqa: PT017 - any other status is wrong
            else:
                return

    def post(self, path: str, token: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.doors["api"] + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def rpc(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(
            self.doors["rpc"], data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["result"]

    def run(self, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the same folder, with `given` on its stdin."""
        return subprocess.run(
            [*ZMARTD, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            input=given,
        )

    def run_for_json(self, *arguments: str, given: str = "") -> Any:
        """What a command prints as JSON."""
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def read(self, name: str) -> str:
        """The text of a file of its data."""
        return (self.directory / name).read_text()

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
