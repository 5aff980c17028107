"""systemd/: what systemd itself says of the units, and what they have to have."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.debian_packages import NotToBeHad, Program, debian_program
from zmartd import config_file
from zmartd.config import ServerSettings
from zmartd.config_values import Secret
from zmartd.daemon import RESTART_SIGNAL

UNITS = Path(__file__).parents[2] / "systemd"
DAEMON, MIGRATE, TICK = "zmartd@.service", "zmartd-migrate.service", "zmartd-tick@.service"
INSTANCES = {"zmartd@.": "zmartd@4000.", "zmartd-tick@.": "zmartd-tick@market_monitor."}
PROGRAM = Path("opt/zmartd/bin/zmartd")
MAX_EXPOSURE = 1.5
OWN = {
    "Type",
    "ExecStart",
    "LoadCredential",
    "SetCredential",
    "Environment",
    "EnvironmentFile",
    "StateDirectory",
}
OWN |= {"MemoryMax", "TasksMax", "Restart", "RestartSec", "TimeoutStartSec"}
"""What a unit has to have of its own: all else protects, and is the same in every one."""
SECRETS = {one.name for one in config_file.settings_table() if isinstance(one.default, Secret)}


def directives(unit: str, section: str = "Service") -> dict[str, list[str]]:
    """The directives of a section, each with its values in order."""
    found = defaultdict(list)
    inside = ""
    for line in (UNITS / unit).read_text().splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
        elif line and not line.startswith("#") and inside == section:
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


@pytest.fixture(scope="module")
def analyze() -> Program:
    try:
        return debian_program("systemd-analyze", "systemd", "usr/bin")
    except NotToBeHad as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def root(analyze: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine's files after the documented installation, and systemd's own units."""
    root = tmp_path_factory.mktemp("root")
    for unit in UNITS.iterdir():
        for template, instance in INSTANCES.items():
            name = unit.name.replace(template, instance)
            if name != unit.name:
                break
        target = root / "etc/systemd/system" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(unit, target)
    for program in (root / PROGRAM, root / "bin/kill"):
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    system = analyze.path.resolve().parents[2]
    own = [system / "usr/lib/systemd/system", system / "lib/systemd/system"]
    shutil.copytree(
        next(directory for directory in own if directory.is_dir()),
        root / "lib/systemd/system",
        symlinks=True,
        ignore_dangling_symlinks=True,
    )
    return root


def run(analyze: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(analyze.path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=analyze.environment, check=False)


def installed(root: Path) -> list[str]:
    return sorted(file.name for file in (root / "etc/systemd/system").iterdir())


def test_systemd_finds_no_fault_in_any_unit(analyze: Program, root: Path) -> None:
    names = installed(root)
    assert len(names) == 6
    done = run(analyze, "verify", f"--root={root}", "--man=no", *names)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fault_would_be_found(analyze: Program, root: Path) -> None:
    wrong = root / "etc/systemd/system/wrong.service"
    wrong.write_text("[Service]\nExecStart=/opt/zmartd/bin/nobody\nProtectSytem=strict\n")
    done = run(analyze, "verify", f"--root={root}", "--man=no", "wrong.service")
    wrong.unlink()
    assert done.returncode != 0
    assert "ProtectSytem" in done.stderr


@pytest.mark.parametrize("unit", [DAEMON, MIGRATE, TICK])
def test_systemd_finds_every_service_hardly_exposed(analyze: Program, unit: str) -> None:
    done = run(analyze, "security", "--offline=true", "--no-pager", str(UNITS / unit))
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= MAX_EXPOSURE, done.stdout


@pytest.mark.parametrize("unit", [MIGRATE, TICK])
def test_every_service_is_protected_like_the_daemon(unit: str) -> None:
    of_the_daemon = {"NotifyAccess", "WatchdogSec", "TimeoutAbortSec", "TimeoutStopSec", "LimitNOFILE"}
    of_the_daemon |= {"ExecReload", "RestartKillSignal", "FileDescriptorStoreMax"}
    protections = {
        name: values for name, values in directives(DAEMON).items() if name not in OWN | of_the_daemon
    }
    assert len(protections) > 30
    assert {name: values for name, values in directives(unit).items() if name not in OWN} == protections


def test_the_daemon_is_watched_and_started_again_however_long_an_outage_lasts() -> None:
    service = directives(DAEMON)
    expected = {"Type": ["notify"], "WatchdogSec": ["30"], "Restart": ["always"], "RestartSec": ["1"]}
    assert {name: service[name] for name in expected} == expected
    assert directives(DAEMON, "Unit")["StartLimitIntervalSec"] == ["0"]
    assert directives("zmartd@.socket", "Socket")["TriggerLimitIntervalSec"] == ["0"]


def test_a_restart_is_told_apart_from_a_stop_and_keeps_the_websockets() -> None:
    service = directives(DAEMON)
    assert service["RestartKillSignal"] == [RESTART_SIGNAL.name]
    assert "KillSignal" not in service  # SIGTERM
    assert int(service["FileDescriptorStoreMax"][0]) >= 1


def test_the_daemon_has_time_to_end_and_descriptors_for_its_connections() -> None:
    server = ServerSettings()
    [seconds], [descriptors] = directives(DAEMON)["TimeoutStopSec"], directives(DAEMON)["LimitNOFILE"]
    assert int(seconds) >= 2 * server.shutdown_seconds + 20
    assert int(descriptors) >= server.max_connections * 1.5


@pytest.mark.parametrize("unit", [DAEMON, MIGRATE, TICK])
def test_every_service_runs_what_the_documented_installation_makes(unit: str) -> None:
    [command] = directives(unit)["ExecStart"]
    assert command.startswith(f"/{PROGRAM} ")
    guide = (UNITS.parent / "docs/operations-systemd.md").read_text()
    assert f"python3 -m venv /{PROGRAM.parents[1]}\n" in guide


@pytest.mark.parametrize("unit", [DAEMON, TICK])
def test_every_secret_is_a_credential_that_may_be_missing(unit: str) -> None:
    names = SECRETS | {"solana.authority_keypair_path", "solana.authority_next_keypair_path"}
    service = directives(unit)
    assert sorted(service["LoadCredential"]) == sorted(
        f"{name}:/etc/zmartd/credentials/{name}" for name in names
    )
    assert sorted(service["SetCredential"]) == sorted(f"{name}:\\n" for name in names)


def test_no_secret_is_in_an_environment() -> None:
    variables = {one.environment_variable for one in config_file.settings_table() if one.name in SECRETS}
    text = "".join(unit.read_text() for unit in UNITS.iterdir())
    assert [variable for variable in variables if variable in text] == []
    assert "secrets.env" not in text


def test_the_socket_s_name_and_address_are_those_that_the_daemon_looks_for() -> None:
    socket = directives("zmartd@.socket", "Socket")
    assert (socket["ListenStream"], socket["FileDescriptorName"]) == (["127.0.0.1:%i"], ["server"])
    assert socket["Accept"] == ["no"]
    environment = dict(value.split("=", 1) for value in directives(DAEMON)["Environment"])
    assert environment == {
        "ZMARTD_CONFIG": str(config_file.SEARCH_PATH[-1]),
        "ZMARTD_SERVER_PORT": "%i",
        "ZMARTD_OPERATOR_PORT": "1%i",
    }
    settings = config_file.load(
        None, {name: value.replace("%i", "4000") for name, value in environment.items() if "PORT" in name}
    )
    assert (settings.server.port, settings.operator.port) == (4000, 14000)


def test_the_timer_is_off_unless_somebody_wants_it() -> None:
    assert directives("zmartd-tick@.timer", "Install") == {"WantedBy": ["timers.target"]}
    for unit in UNITS.iterdir():
        assert unit.suffix == ".timer" or ".timer" not in unit.read_text()
