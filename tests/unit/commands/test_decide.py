from __future__ import annotations

from datetime import UTC, datetime

import pytest

from zmartd.commands.decide import pending_text
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import VoteCounts
from zmartd.store.tallies import Tally
from zmartd.tasks.admin_decisions import PendingDecision


def test_a_question_cannot_disguise_what_is_decided() -> None:
    text = "Wird es schön?\n\x1b[2J\x9b2J\u202e"
    printed = pending_text(
        PendingDecision("00" * 32, text, MarketState.RESOLVING, False, None, True), Decision.OVERTURN
    )
    assert printed.splitlines() == [
        f"market    {'00' * 32} (RESOLVING)",
        r"question  'Wird es schön?\n\x1b[2J\x9b2J\u202e'",
        "proposed  NO",
        "votes     none: nobody has disputed the proposed outcome",
        "decision  overturn: YES is final",
    ]


@pytest.mark.parametrize(("proposed", "wrong"), [(True, "YES"), (False, "NO")])
def test_votes_say_with_what_they_agree(proposed: bool, wrong: str) -> None:
    counted = datetime(2026, 11, 1, tzinfo=UTC)
    tally = Tally(
        "00" * 32,
        VoteKind.DISPUTE,
        VoteCounts(2, 1),
        VoteCounts(30, 70),
        3,
        200,
        0,
        counted,
        counted,
        None,
        None,
        None,
    )
    pending = PendingDecision("00" * 32, "Who wins?", MarketState.DISPUTED, proposed, tally, True)
    assert pending_text(pending, Decision.KEEP).splitlines()[3] == (
        "votes     2 of 3 wallets and 30.00 % of the stake that voted agree with the dispute: "
        f"{wrong} is wrong; 50.00 % of all stake voted"
    )


def test_whoever_decides_is_told_that_the_tallies_may_lack_some() -> None:
    counts = VoteCounts(2, 1)
    counted = datetime(2026, 11, 1, tzinfo=UTC)
    tally = Tally("00" * 32, VoteKind.DISPUTE, counts, counts, 3, 3, 0, counted, counted, None, None, None)
    for known, end in ((True, "of all stake voted"), (False, "because a transaction could not be read")):
        pending = PendingDecision("00" * 32, "Who wins?", MarketState.DISPUTED, True, tally, known)
        (votes,) = [line for line in pending_text(pending, Decision.KEEP).splitlines() if "votes" in line[:5]]
        assert votes.startswith("votes     2 of 3 wallets")
        assert votes.endswith(end)
