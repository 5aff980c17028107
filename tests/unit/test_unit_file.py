"""systemd/zmartd.service: what a daemon that was taken over could not do, and how secrets reach it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from solders.keypair import Keypair

from zmartd import config_file
from zmartd.config_values import Secret
from zmartd.dependencies import authority_of

UNIT = Path(__file__).parents[2] / "systemd" / "zmartd.service"
MAX_EXPOSURE = 1.5
CREDENTIALS = "%d"
"""systemd's name for $CREDENTIALS_DIRECTORY."""

PROTECTIONS = {
    "AmbientCapabilities": [""],
    "CapabilityBoundingSet": [""],
    "DynamicUser": ["yes"],
    "LimitCORE": ["0"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "MemoryMax": ["1G"],
    "MemorySwapMax": ["0"],
    "NoNewPrivileges": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateIPC": ["yes"],
    "PrivateMounts": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateUsers": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectHome": ["yes"],
    "ProtectHostname": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectProc": ["invisible"],
    "ProtectSystem": ["strict"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
    "RestrictNamespaces": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "SystemCallArchitectures": ["native"],
    "SystemCallErrorNumber": ["EPERM"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "TasksMax": ["128"],
    "UMask": ["0077"],
}


def service() -> dict[str, list[str]]:
    """The directives of [Service], each with its values in order."""
    text = UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0]
    found = defaultdict(list)
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def test_systemd_starts_the_daemon_again_however_long_an_outage_lasts() -> None:
    unit = UNIT.read_text().partition("[Unit]")[2].partition("[Service]")[0].splitlines()
    assert "StartLimitIntervalSec=0" in unit
    directives = service()
    assert (directives["Restart"], directives["RestartSec"]) == (["on-failure"], ["5"])


def test_everything_that_a_daemon_does_not_need_is_taken_from_it() -> None:
    directives = service()
    assert {name: directives[name] for name in PROTECTIONS} == PROTECTIONS


def test_systemd_finds_the_unit_hardly_exposed() -> None:
    """Where systemd is; elsewhere the directives are looked at that systemd 252 gave a level of 1.1 for."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        test_everything_that_a_daemon_does_not_need_is_taken_from_it()
        return
    command = [analyze, "security", "--offline=true", "--no-pager", str(UNIT)]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    level = re.search(r"Overall exposure level for zmartd\.service: ([0-9.]+)", report)
    assert level is not None, report
    assert float(level[1]) <= MAX_EXPOSURE, report


def test_the_authority_s_key_reaches_the_daemon_as_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directives = service()
    [credential] = directives["LoadCredential"]
    name, _, source = credential.partition(":")
    assert source.startswith("/etc/zmartd/")
    key = Keypair()
    (tmp_path / name).write_text(key.to_json())
    (tmp_path / name).chmod(0o440)  # as systemd's access control list looks
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    pairs = (value.partition("=") for value in directives["Environment"])
    environment = {variable: value.replace(CREDENTIALS, str(tmp_path)) for variable, _, value in pairs}
    assert environment.pop(config_file.CONFIG_VARIABLE) == str(config_file.SEARCH_PATH[-1])
    assert authority_of(config_file.load(None, environment).solana) == key


def test_no_setting_with_a_secret_is_written_into_the_unit() -> None:
    secret = [one for one in config_file.settings_table() if isinstance(one.default, Secret)]
    assert not [one.name for one in secret if one.environment_variable in UNIT.read_text()]
    assert service()["EnvironmentFile"] == ["-/etc/zmartd/secrets.env"]
