from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from zmartd.chain.idl import default_idl
from zmartd.commands.dev_stack import reset
from zmartd.commands.instance import LOCALNET, LOCK, MARKER, claimed
from zmartd.commands.options import DATA_DIRECTORY


def test_zmartd_localnet_says_where_it_is_and_runs_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zmartd", "localnet", "--rpc-port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert set(ready) == {"event", "rpc", "ws"}
    program = [str(default_idl().program_id), {"encoding": "base64"}]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getAccountInfo", "params": program}).encode()
    request = urllib.request.Request(ready["rpc"], data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        account = json.load(answer)["result"]["value"]
    assert account["executable"] is True
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0
    # `zmartd dev` in the same folder has a chain of its own.
    with claimed(tmp_path / DATA_DIRECTORY) as claim:
        assert {one.name for one in claim.directory.iterdir()} == {LOCALNET, LOCK, MARKER}
        reset(claim)
        assert (claim.directory / LOCALNET).exists()
