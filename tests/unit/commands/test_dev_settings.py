"""The settings of `zmartd dev`: the environment, then the developer's file, then its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmartd.commands import dev_settings, dev_stack
from zmartd.commands.instance import claimed
from zmartd.config_file import load, to_toml
from zmartd.config_values import ConfigError


def test_the_file_is_written_once_and_sets_nothing_by_itself(tmp_path: Path) -> None:
    file = dev_settings.settings_file(tmp_path, {})
    assert file == tmp_path / "dev.toml"
    assert dev_settings.load(tmp_path, file, {}) == dev_settings.defaults(tmp_path)
    changed = file.read_text().replace("# min_proposal_votes = 3", "min_proposal_votes = 2")
    file.write_text(changed)
    assert dev_settings.settings_file(tmp_path, {}).read_text() == changed
    assert dev_settings.load(tmp_path, file, {}).voting.min_proposal_votes == 2


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 5000\n[tasks.reconciler]\nevery_seconds = 1\n")
    assert dev_settings.settings_file(tmp_path, {"ZMARTD_CONFIG": str(file)}) == file
    assert not (tmp_path / "dev.toml").exists()
    settings = dev_settings.load(tmp_path, file, {"ZMARTD_SERVER_PORT": "6000"})
    assert settings.server.port == 6000
    assert settings.tasks.reconciler.every_seconds == 1
    assert settings.tasks.leaderboard.every_seconds == 2
    assert settings.server.is_development
    assert dev_settings.with_port(settings, 0).server.port == 0


def test_a_message_to_sign_names_the_port_that_the_api_has(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 5000\n")
    settings = dev_settings.load(tmp_path, file, {})
    assert settings.auth.domains == ("localhost:5000", "localhost:3000")
    assert dev_settings.with_port(settings, 6000).auth.domains == ("localhost:6000", "localhost:3000")
    chosen = dev_settings.load(tmp_path, file, {"ZMARTD_AUTH_DOMAINS": "example.com"})
    assert dev_settings.with_port(chosen, 6000).auth.domains == ("example.com",)


@pytest.mark.parametrize("name", sorted(dev_settings.OWN_SETTINGS))
def test_what_it_runs_itself_is_not_taken_from_elsewhere_and_not_ignored(tmp_path: Path, name: str) -> None:
    section, _, key = name.rpartition(".")
    variable = f"ZMARTD_{section}_{key}".upper()
    with pytest.raises(ConfigError, match="`zmartd serve`") as refused:
        dev_settings.load(tmp_path, dev_settings.settings_file(tmp_path, {}), {variable: "anything"})
    assert refused.value.problems[0].startswith(f"${variable}: zmartd dev ")
    file = tmp_path / "mine.toml"
    file.write_text(f'[{section}]\n{key} = "anything"\n')
    with pytest.raises(ConfigError, match=rf"mine\.toml: {name}: zmartd dev "):
        dev_settings.load(tmp_path, file, {})


def test_other_commands_read_the_same_settings(tmp_path: Path) -> None:
    settings = dev_settings.load(
        tmp_path, dev_settings.settings_file(tmp_path, {}), {"ZMARTD_LOG_LEVEL": "info"}
    )
    written = tmp_path / "zmartd.toml"
    written.write_text(to_toml(settings))
    assert load(written, {}) == settings


def test_a_reset_keeps_the_developer_s_file_and_nothing_else(tmp_path: Path) -> None:
    with claimed(tmp_path) as claim:
        kept = dev_settings.settings_file(tmp_path, {}).read_text()
        dev_settings.defaults(tmp_path)
        (tmp_path / "chain").mkdir()
        (tmp_path / "chain" / "ledger").write_text("old")
        dev_stack.reset(claim)
        assert {one.name for one in tmp_path.iterdir()} == {"dev.toml", "running.json", "zmartd-data"}
    assert (tmp_path / "dev.toml").read_text() == kept


def test_markets_move_without_a_sweep(tmp_path: Path) -> None:
    tasks = dev_settings.defaults(tmp_path).tasks
    assert tasks.market_monitor.every_seconds == tasks.vote_aggregator.every_seconds == 300
