"""`zmartd decide`: an admin's decision about a market."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, table
from zmartd.commands.running import run_with_core

if TYPE_CHECKING:
    from zmartd.market.decisions import Decision
    from zmartd.store.decisions import MarketDecision
    from zmartd.tasks.admin_decisions import PendingDecision


@click.command()
@click.argument("market", metavar="MARKET")
@click.option("--keep", is_flag=True, help="The proposed outcome is final.")
@click.option("--overturn", is_flag=True, help="The opposite outcome is final.")
@click.option("--refund", is_flag=True, help="No outcome: holders get back what they paid.")
@click.option("--because", metavar="TEXT", required=True, help="The reason; everybody can read it.")
@click.option("--yes", is_flag=True, help="Decide without asking for a confirmation; --json needs it.")
@config_option
@json_option
def decide(
    market: str, because: str, yes: bool, config_path: Path | None, as_json: bool, **decisions: bool
) -> None:
    """Decide what becomes of MARKET, an id or address. Give one of --keep, --overturn and --refund.

    There is something to decide where the votes do not settle a dispute, before they settle it, and where a
    stranger proposed the outcome. The command shows the market and its votes, and asks for a confirmation.
    A decision stays, and is public with its reason. The vote aggregator of a running daemon carries it out;
    `zmartd tick vote_aggregator` does so at once.
    """
    from zmartd.core import admin_decisions
    from zmartd.market.decisions import Decision

    given = [decision for decision in Decision if decisions[decision]]
    if not given:
        raise click.UsageError("say what is decided: --keep, --overturn or --refund")
    if len(given) > 1:
        flags = " and ".join(f"--{decision}" for decision in given)
        raise click.UsageError(f"{flags} exclude each other: give one")
    [decision] = given
    reason = _reason(because)
    if as_json and not yes:
        raise click.UsageError("--json asks for no confirmation: give --yes, too")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to confirm the decision on: give --yes")
    settings = operator_settings(config_path)
    pending = run_with_core(settings, lambda core: admin_decisions(core, core.rpc).pending(market, decision))
    if not as_json:
        click.echo(pending_text(pending, decision))
    if not yes:
        click.confirm("A decision cannot be changed. Decide so?", abort=True)
    made = run_with_core(
        settings,
        lambda core: admin_decisions(core, core.rpc).decide(
            pending.market_id, decision, reason, None, shown=pending
        ),
    )
    print_result(as_json, made, _decision_text(made))


def _reason(because: str) -> str:
    from zmartd.text.readable import Unreadable, readable

    rule = "--because has to be a text of 10 to 2000 characters"
    try:
        reason = readable(because)
    except Unreadable as error:
        raise click.UsageError(f"{rule}: {error}") from error
    if not 10 <= len(reason) <= 2_000:
        raise click.UsageError(rule)
    return reason


def pending_text(pending: PendingDecision, decision: Decision) -> str:
    """The market, its holders' votes, and the effect of the decision."""
    from zmartd.market.decisions import Decision
    from zmartd.market.lifecycle import flipped
    from zmartd.tasks.disputes import OUTCOMES

    proposed = pending.proposed_outcome
    outcome = OUTCOMES[flipped(proposed) if decision is Decision.OVERTURN else proposed]
    effect = "no outcome is final, and holders get back what they paid"
    if decision is not Decision.REFUND:
        effect = f"{outcome} is final"
    return table(
        (
            ("market", f"{pending.market_id} ({pending.state.name})"),
            # repr: a stranger's text must not move the terminal's cursor or reverse the text after it.
            ("question", repr(pending.question)),
            ("proposed", OUTCOMES[proposed]),
            ("votes", _votes(pending)),
            ("decision", f"{decision}: {effect}"),
        )
    )


def _votes(pending: PendingDecision) -> str:
    from zmartd.market.lifecycle import MarketState
    from zmartd.tasks.disputes import votes_in_words

    if pending.state is not MarketState.DISPUTED:
        return "none: nobody has disputed the proposed outcome"
    if pending.tally is None or pending.tally.counted_at is None:
        return "not counted yet"
    counted = votes_in_words(pending.tally, pending.proposed_outcome)
    if pending.is_electorate_known:
        return counted
    return f"{counted}; not all votes and stakes are known, because a transaction could not be read"


def _decision_text(made: MarketDecision) -> str:
    return (
        f"decided for {made.market_id} ({made.state.name}): {made.decision.value}, because {made.because}\n"
        "The vote aggregator carries it out in its next run; `zmartd tick` runs it now."
    )
