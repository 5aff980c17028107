from __future__ import annotations

from pathlib import Path

import pytest

from zmartd.store.backup.programs import ProgramFailed, ProgramsMissing, find_programs, run_program, target_of


def programs(directory: Path, dump: int, restore: int | None = None) -> Path:
    """A directory with programs that say that they have these major versions."""
    directory.mkdir()
    for name, major in (("pg_dump", dump), ("pg_restore", restore or dump)):
        (directory / name).write_text(
            f"#!/bin/sh\necho '{name} (PostgreSQL) {major}.4 (Debian {major}.4-1)'\n"
        )
        (directory / name).chmod(0o755)
    return directory


def test_the_oldest_programs_are_taken_that_are_new_enough(tmp_path: Path) -> None:
    others = [programs(tmp_path / str(major), major) for major in (99, 97, 98, 96)]
    assert find_programs(97, "", others).directory == tmp_path / "97"


def test_those_of_the_settings_are_taken_or_none(tmp_path: Path) -> None:
    own, other = programs(tmp_path / "own", 97), programs(tmp_path / "other", 98)
    assert find_programs(97, str(own)).major == 97
    with pytest.raises(ProgramsMissing, match=f"{own} has version 97: install postgresql-client-98, or let"):
        find_programs(98, str(own), [other])


def test_programs_of_two_versions_in_one_directory_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(ProgramsMissing):
        find_programs(97, str(programs(tmp_path / "mixed", 98, 97)))
    with pytest.raises(ProgramsMissing, match="and none was found"):
        find_programs(97, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("dsn", "url", "password"),
    [
        ("postgresql://u:p%40s%2Fs@h:5432/d", "postgresql://u@h:5432/d", "p@s/s"),
        ("postgresql://u@h/d", "postgresql://u@h/d", None),
        ("postgresql://u@/d?host=%2Frun&password=a%26b", "postgresql://u@/d?host=%2Frun", "a&b"),
        ("postgresql:///d?host=%2Frun", "postgresql:///d?host=%2Frun", None),
        (
            "postgres://u:p@[::1]:5432,h2/d?sslmode=require",
            "postgres://u@[::1]:5432,h2/d?sslmode=require",
            "p",
        ),
    ],
)
def test_no_password_is_on_a_command_line(dsn: str, url: str, password: str | None) -> None:
    target = target_of(dsn)
    assert target.url == url
    assert target.environment.get("PGPASSWORD") == password


def test_a_password_that_has_to_be_on_a_command_line_is_refused() -> None:
    with pytest.raises(ProgramsMissing, match="sslpassword"):
        target_of("postgresql://u@h/d?sslpassword=hunter2")


def test_the_environment_of_a_program_has_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZMARTD_AUTH_JWT_SECRET", "hunter2")
    assert "hunter2" not in target_of("postgresql://u@h/d").environment.values()


async def test_a_program_that_fails_is_quoted_without_its_progress() -> None:
    said: list[str] = []
    script = "echo 'pg_dump: reading schemas' >&2; echo 'pg_dump: error: no space left' >&2; exit 3"
    with pytest.raises(ProgramFailed, match=r"^error: no space left$"):
        await run_program(["sh", "-c", script], {}, said.append)
    assert said == ["pg_dump: reading schemas", "pg_dump: error: no space left"]
