"""The simulated traders have the same wallets at each start."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from zmartd.embedded.simulation import TRADERS, UnreadableWallets, read_wallets


def test_they_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    file = tmp_path / "actors.json"
    made = read_wallets(file)
    assert len({str(wallet.pubkey()) for wallet in made}) == TRADERS
    assert read_wallets(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", ["", "{", "[1]", '["not a key"]', '{"a": 1}'])
def test_a_file_that_is_something_else_is_left_alone_and_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "actors.json"
    file.write_text(content)
    with pytest.raises(UnreadableWallets, match=r"actors\.json is not a list of secret keys"):
        read_wallets(file)
    assert file.read_text() == content
