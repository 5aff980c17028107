"""Whether the webhook's deliveries arrive."""

from __future__ import annotations

from collections.abc import Sequence

from zmartd.alerts.index_rules import SILENT_RUNS
from zmartd.chain.helius import HeliusWebhooks, registered_at, wanted_of
from zmartd.doctor.check import Check, Outcome, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.store import alert_facts


async def _registered(patient: Patient) -> Sequence[Outcome]:
    helius = patient.settings.helius
    if not helius.api_key or not helius.webhook_url:
        return [Outcome("skipped", "not looked at, because helius.api_key or helius.webhook_url is not set")]
    wanted = wanted_of(patient.settings)
    async with HeliusWebhooks(helius.api_url, helius.api_key, patient.clock) as webhooks:
        found = registered_at(await webhooks.all(), wanted.url)
    if not found:
        return [warning(f"Helius has no webhook to {wanted.url}", "run `zmartd webhook register`")]
    outcomes = [
        warning(f"{one.id} at Helius: {lack}", "run `zmartd webhook register`")
        for one in found
        for lack in wanted.lacks(one)
    ]
    if len(found) > 1:
        others = ", ".join(one.id for one in found[1:])
        outcomes.append(
            warning(
                f"{len(found)} webhooks at Helius deliver the same, and each costs credits",
                f"`zmartd webhook delete` those that are too many: {others}",
            )
        )
    return outcomes or [ok(f"{found[0].id} at Helius, to {wanted.url}")]


async def _arriving(patient: Patient) -> Sequence[Outcome]:
    assert patient.database is not None, "set by the check `migrations`"
    alerts = patient.settings.alerts
    async with patient.database.service_reader() as connection:
        facts = await alert_facts.read(connection, alerts, with_size=False)
    seconds = facts.delivered_seconds
    last = "nothing was delivered yet" if seconds is None else f"the last delivery came {seconds:.0f} s ago"
    is_silent = seconds is None or seconds > alerts.webhook_silent_seconds
    if is_silent and facts.making_up_runs >= SILENT_RUNS:
        return [
            warning(
                f"{last}, and {facts.making_up_runs} runs of the reconciler found what was missing",
                "`zmartd webhook list` shows what is registered, and whether Helius has turned it off; the "
                "daemon's "
                "log has every delivery that was refused (`webhook.refused`)",
            )
        ]
    return [ok(f"{last}, and the reconciler finds nothing missing")]


CHECKS = (
    Check(
        name="webhook",
        look=_registered,
        about="the webhook is registered at Helius as it has to be, once, and is on",
        uses=("helius.api_key", "helius.api_url", "helius.webhook_url", "helius.authorization"),
        remedy="`zmartd webhook list` asks Helius again",
        patience_seconds=90.0,
    ),
    Check(
        name="deliveries",
        look=_arriving,
        about="the webhook delivers what the reconciler finds on the chain",
        uses=("database.url",),
        needs=("database", "migrations"),
    ),
)
