from __future__ import annotations

from collections.abc import Sequence

import pytest
from solders.pubkey import Pubkey

from tests.unit.chain.chain_logs import CODEC, OURS, STRANGER, data_line, event_line, frame
from zmartd.chain.answers import SimulationResult
from zmartd.chain.events import SharesBought
from zmartd.chain.logs import TRUNCATED
from zmartd.chain.purchases import shares_bought


def bought(shares: int) -> str:
    return event_line(
        SharesBought(
            market_id=bytes(32),
            user=Pubkey.default(),
            outcome=True,
            shares=shares,
            cost=1,
            new_price_yes=1,
            timestamp=1,
        )
    )


@pytest.mark.parametrize(
    ("logs", "shares"),
    [
        ([*frame(OURS, bought(7)), *frame(OURS, bought(5))], 12),
        (frame(OURS), 0),
        ([*frame(STRANGER, bought(100)), *frame(OURS, bought(7))], 7),
        (frame(OURS, f"Program log: {bought(100)}", bought(7)), 7),
        ([*frame(OURS, bought(7)), TRUNCATED], None),
        (frame(OURS, bought(7))[:-1], None),
        (frame(OURS, data_line(b"what no IDL explains"), bought(7)), None),
        ([], None),
        (None, None),
    ],
)
def test_only_what_the_program_says_in_logs_that_are_whole_is_bought(
    logs: Sequence[str] | None, shares: int | None
) -> None:
    simulated = SimulationResult(logs=None if logs is None else tuple(logs))
    assert shares_bought(simulated, CODEC) == shares
