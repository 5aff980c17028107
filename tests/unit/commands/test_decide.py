from __future__ import annotations

from zmartd.commands.decide import pending_text
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.tasks.admin_decisions import PendingDecision


def test_a_question_cannot_disguise_what_is_decided() -> None:
    text = "Wird es schön?\n\x1b[2J\x9b2J\u202e"
    printed = pending_text(
        PendingDecision("00" * 32, text, MarketState.RESOLVING, False, None), Decision.OVERTURN
    )
    assert printed.splitlines() == [
        f"market    {'00' * 32} (RESOLVING)",
        r"question  'Wird es schön?\n\x1b[2J\x9b2J\u202e'",
        "proposed  NO",
        "votes     none: nobody has disputed the proposed outcome",
        "decision  overturn: YES is final",
    ]
