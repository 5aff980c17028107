"""Trusted proxies: whether requests come through one that is not trusted."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httpx

from zmartd import endpoint
from zmartd.doctor.check import Check, Outcome, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.http.kit.client_address import UNTRUSTED

_ANSWER_SECONDS = 5.0
_COUNT = re.compile(rf"^{UNTRUSTED.name}_total(?:{{[^}}]*}})? ([0-9.e+]+)$", re.MULTILINE)


async def _proxies(patient: Patient) -> Sequence[Outcome]:
    server, operator = patient.settings.server, patient.settings.operator
    if server.trusted_proxies:
        return [ok(f"{', '.join(server.trusted_proxies)} are believed about their clients")]
    if not operator.port:
        return [Outcome("skipped", "not looked at, because operator.port is 0")]
    url = f"{endpoint.reachable_url('http', operator.host, operator.port)}/metrics"
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            metrics = (await client.get(url)).text
    except httpx.HTTPError:
        return [Outcome("skipped", "not looked at, because no daemon runs on operator.port")]
    count = _COUNT.search(metrics)
    requests = int(float(count[1])) if count else 0
    if requests:
        return [
            warning(
                f"{requests} requests came with {server.forwarded_header} while no proxy is trusted: "
                "behind a proxy "
                "all clients count as one, and share its limits",
                'set server.trusted_proxies to the proxy\'s address, as ["127.0.0.1"]; where there is no '
                "proxy, "
                "ignore this: clients can send the header themselves",
            )
        ]
    return [ok(f"none is trusted, and no request came with {server.forwarded_header}")]


CHECKS = (
    Check(
        name="proxies",
        look=_proxies,
        about="requests that came through a proxy while server.trusted_proxies has none, as the running "
        "daemon counts",
        uses=("server.trusted_proxies", "operator.host", "operator.port"),
    ),
)
