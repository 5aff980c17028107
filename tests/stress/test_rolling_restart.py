"""The short form of `python -m tests.stress.rolling`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.debian_packages import NotToBeHad, debian_program
from tests.stress.rolling import Size, run

SIZE = Size(clients=300, messages=10, reads=10, restarts=2, drain_seconds=4.0)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_daemons_restart_one_after_the_other_and_nobody_notices(tmp_path: Path) -> None:
    try:
        debian_program("nginx", "nginx")
    except NotToBeHad as error:
        pytest.skip(str(error))
    outcome = await run(tmp_path, SIZE)
    clients = outcome.clients
    assert outcome.requests > 0
    assert outcome.failed == {}
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert (clients.gaps, clients.unrecovered) == (0, 0)
    assert clients.frames > SIZE.clients
    assert clients.endings["1012"] == outcome.moved_clients > 0
    assert clients.endings["cut"] < SIZE.clients  # those of the one that was killed
    assert clients.returns == clients.endings["1012"] + clients.endings["cut"]
    assert outcome.transactions_while_moved < outcome.moved_clients
