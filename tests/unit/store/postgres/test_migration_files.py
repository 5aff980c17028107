from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from zmartd.store.postgres.migrations import SQL_DIRECTORY, MigrationRefused, all_migrations


def test_the_project_ships_its_migrations_in_order() -> None:
    found = all_migrations()

    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert found[0].name == "0001_roles_and_types"
    assert (
        found[0].checksum
        == hashlib.sha256((SQL_DIRECTORY / "0001_roles_and_types.sql").read_bytes()).hexdigest()
    )


def test_a_gap_in_the_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("select 1")
    (tmp_path / "0003_third.sql").write_text("select 1")

    with pytest.raises(MigrationRefused, match=r"0002_….sql is next"):
        all_migrations(tmp_path)


def test_two_files_with_one_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("select 1")
    (tmp_path / "0001_other.sql").write_text("select 1")

    with pytest.raises(MigrationRefused, match=r"0001_other\.sql"):
        all_migrations(tmp_path)


def test_a_directory_without_migrations_is_an_incomplete_installation(tmp_path: Path) -> None:
    with pytest.raises(MigrationRefused, match="incomplete"):
        all_migrations(tmp_path)
