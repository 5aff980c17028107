"""The short form of `python -m tests.stress.streams`."""

from __future__ import annotations

from pathlib import Path

from tests.stress.streams import run


async def test_no_client_misses_a_message_or_gets_one_twice_whatever_happens(tmp_path: Path) -> None:
    rig = await run(tmp_path, seed=20261129, steps=250)
    assert (
        min(
            rig.done[name]
            for name in ("change", "lose", "publish_late", "come", "doubt", "sign_out", "restart_hub")
        )
        > 0
    )
    assert sum(one.recovered for one in rig.watchers) > 0
    assert sum(one.frames for one in rig.watchers) > 300
