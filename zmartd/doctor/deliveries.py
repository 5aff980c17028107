"""Whether the webhook's deliveries arrive."""

from __future__ import annotations

from collections.abc import Sequence

from zmartd.alerts.index_rules import SILENT_RUNS
from zmartd.doctor.check import Check, Outcome, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.store import alert_facts


async def _arriving(patient: Patient) -> Sequence[Outcome]:
    assert patient.database is not None, "set by the check `migrations`"
    alerts = patient.settings.alerts
    async with patient.database.service_reader() as connection:
        facts = await alert_facts.read(
            connection,
            unexplained_seconds=alerts.unexplained_seconds,
            silent_seconds=alerts.webhook_silent_seconds,
            with_size=False,
        )
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
        name="deliveries",
        look=_arriving,
        about="the webhook delivers what the reconciler finds on the chain",
        uses=("database.url",),
        needs=("database", "migrations"),
    ),
)
