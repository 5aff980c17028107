"""`zmartd dev` as a newcomer meets it: ready, used by the other commands, killed, and started again."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.development import ZMARTD, Development, wait_until_gone
from tests.e2e.typescript import needs_node, run_node
from tests.ports import free_port
from zmartd.http.machines.operator import MAX_OPERATOR_CONNECTIONS
from zmartd.http.openapi.routes import TRY_OUT
from zmartd.market.ids import is_address


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert wait_until_gone(tmp_path) == []


def health_checks(dev: Development) -> dict[str, str]:
    """The status of each dependency."""
    report = dev.get("operator", "/health")
    return {name: check["status"] for name, check in report["checks"].items()}


def test_it_is_ready_with_one_line_and_healthy_and_takes_the_settings_that_it_is_given(folder: Path) -> None:
    settings = folder / ".zmartd" / "dev.toml"
    settings.parent.mkdir()
    kept = "# mine\n[voting]\nmin_proposal_votes = 5\n[markets]\nkeep_pending_days = 7\n"
    settings.write_text(kept)
    dev = Development(folder, ZMARTD_VOTING_MIN_PROPOSAL_VOTES="4")
    assert list(dev.doors)[:3] == ["event", "docs", "page"]
    assert dev.doors["event"] == "ready"
    used = tomllib.loads(Path(dev.doors["configuration"]).read_text())
    assert used["voting"]["min_proposal_votes"] == 4
    assert used["markets"]["keep_pending_days"] == 7
    assert used["tasks"]["leaderboard"]["every_seconds"] == 2
    assert settings.read_text() == kept
    assert dev.get("api", "/api/auth/nonce")["domain"] == "localhost:4000"
    dev.until_healthy()
    while set((checks := health_checks(dev)).values()) != {"ok"}:
        pass
    assert checks.keys() >= {"database", "redis", "rpc", "tasks", "index", "realtime", "clock", "authority"}
    findings = dev.run_for_json("check", "--json")
    assert [one for one in findings if one["verdict"] == "failed"] == []
    well = {one["check"] for one in findings if one["verdict"] == "ok"}
    assert well >= {
        *("configuration", "secrets", "plugins", "ports", "database", "rights", "migrations", "indexes"),
        *("index", "search", "redis", "eviction", "rpc", "cluster", "lag", "history", "program"),
        *("fee wallet", "authority", "clock", "deliveries", "proxies", "encryption"),
    }
    [report] = dev.run_for_json("tick", "market_monitor", "--json")
    assert report["task"] == "market_monitor"
    assert "up to date" in dev.run("migrate").stderr
    errors = dev.stop(signal.SIGTERM)
    assert dev.process.returncode == 0
    assert "using .zmartd/dev.toml" in errors
    assert f"{dev.doors['api']}/docs\n" in errors
    assert re.search(r"zmartd dev --demo +.*stop it first", errors)
    assert "Traceback" not in errors


def test_killed_it_leaves_no_process_and_goes_on_with_the_same_data(folder: Path) -> None:
    first = Development(folder)
    authority = json.loads(Path(first.doors["authority"]).read_text())
    genesis = first.rpc("getGenesisHash")
    slot = first.rpc("getSlot")
    first.stop(signal.SIGKILL)
    assert wait_until_gone(folder) == []
    left = json.loads((first.directory / "running.json").read_text())
    assert left["pid"] == first.process.pid
    assert "no zmartd dev runs here" in first.run("check").stderr
    second = Development(folder)
    assert json.loads(Path(second.doors["authority"]).read_text()) == authority
    assert second.rpc("getGenesisHash") == genesis
    assert second.rpc("getSlot") >= slot
    second.stop(signal.SIGINT)
    assert second.process.returncode == 0


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = subprocess.run(
        [*ZMARTD, "dev", "--reset", "--data-dir", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 1
    assert "give --data-dir an empty or new directory" in result.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_second_one_in_the_same_folder_says_which_one_runs(surroundings: Development) -> None:
    process = surroundings.process.pid
    second = surroundings.run("dev", "--reset")
    assert second.returncode == 3
    assert json.loads(second.stdout) == {
        "event": "already_running",
        "pid": process,
        "api": surroundings.doors["api"],
        "configuration": surroundings.doors["configuration"],
    }
    assert f"already running here: {surroundings.doors['api']}, process {process}," in second.stderr
    surroundings.until_healthy()


def test_on_a_terminal_it_speaks_to_people(surroundings: Development) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb") as screen:
        done = subprocess.run(
            [*ZMARTD, "dev"], check=False, stdout=theirs, stderr=theirs, cwd=surroundings.folder, timeout=600
        )
        os.close(theirs)
        said = os.read(screen.fileno(), 10_000).decode()
    assert done.returncode == 3
    assert said.startswith("Error: already running here: ")


def test_a_wallet_is_made_signed_in_and_funded(surroundings: Development) -> None:
    session = surroundings.run_for_json("token", "wallet.json", "--new", "--json")
    assert set(session) == {"token", "wallet", "expires_at", "api"}
    assert session["api"] == surroundings.doors["api"]
    assert stat.S_IMODE((surroundings.folder / "wallet.json").stat().st_mode) == 0o600
    funded = surroundings.run_for_json("airdrop", "wallet.json", "2.5", "--json")
    assert funded == {"wallet": session["wallet"], "lamports": "2500000000", "balance": "2500000000"}


@needs_node
async def test_a_wallet_in_a_page_is_funded_signs_in_and_signs(surroundings: Development) -> None:
    """With the scripts of /docs, against the real daemon and chain."""
    script = Path(__file__).with_name("try_out.mjs")
    doors = surroundings.doors
    seen = json.loads(await run_node(str(script), str(TRY_OUT), doors["api"], doors["rpc"]))
    assert seen["signedIn"] == seen["wallet"]
    assert is_address(seen["wallet"])
    assert seen["events"] == ["MarketCreated"]
    assert seen["refused"] == "this transaction is for another wallet to sign"
    assert seen["base58"] == "1" * 32


def test_the_clock_of_the_chain_moves(surroundings: Development) -> None:
    travelled = surroundings.run_for_json("travel", "1d12h", "--json")
    before, now = (datetime.fromisoformat(travelled[name]) for name in ("before", "now"))
    assert travelled["seconds"] == 36 * 3_600
    assert now - before >= timedelta(hours=36)
    clock = surroundings.rpc("getBlockTime", surroundings.rpc("getSlot", {"commitment": "confirmed"}))
    assert clock >= now.timestamp()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ZMARTD_SOLANA_PROGRAM_ID", "11111111111111111111111111111112", "solana.program_id"),
        ("ZMARTD_SOLANA_PROGRAM_ID", "nonsense", "program"),
        ("ZMARTD_SERVER_PROT", "1", "did you mean $ZMARTD_SERVER_PORT?"),
    ],
)
def test_what_is_wrong_with_the_surroundings_is_said_at_start(
    surroundings: Development, variable: str, value: str, said: str
) -> None:
    configuration = str(surroundings.directory / "zmartd.toml")
    result = subprocess.run(
        [sys.executable, "-m", "zmartd", "serve", "--config", configuration],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, variable: value, "ZMARTD_SOLANA_TIMEOUT_SECONDS": "1"},
    )
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("section", "door"), [("server", "api"), ("operator", "operator")])
def test_a_port_that_is_taken_names_the_setting_to_change(
    surroundings: Development, section: str, door: str
) -> None:
    taken = surroundings.doors[door].rpartition(":")[2]
    ports = {"ZMARTD_SERVER_PORT": str(free_port()), "ZMARTD_OPERATOR_PORT": "0"}
    result = subprocess.run(
        [sys.executable, "-m", "zmartd", "serve", "--config", str(surroundings.directory / "zmartd.toml")],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **ports, f"ZMARTD_{section.upper()}_PORT": taken},
    )
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}" in result.stderr
    assert f"change {section}.port" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_operators_listener_alone_has_metrics_and_answers_without_a_credential(
    surroundings: Development,
) -> None:
    with urllib.request.urlopen(f"{surroundings.doors['operator']}/metrics", timeout=120) as answer:
        assert b"zmartd_http_request_duration_seconds" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        surroundings.get("api", "/metrics")


def test_the_operators_listener_has_few_connections_of_its_own(surroundings: Development) -> None:
    host, _, port = surroundings.doors["operator"].removeprefix("http://").rpartition(":")
    with ExitStack() as held:
        for _ in range(MAX_OPERATOR_CONNECTIONS):
            one = held.enter_context(socket.create_connection((host, int(port))))
            one.sendall(b"GET /health HTTP/1.1\r\n")
        refused = held.enter_context(socket.create_connection((host, int(port))))
        assert refused.makefile("rb").readline().split()[1] == b"503"
        surroundings.until_healthy()


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Development]:
    development = Development(tmp_path_factory.mktemp("surroundings"))
    yield development
    development.stop(signal.SIGTERM)
