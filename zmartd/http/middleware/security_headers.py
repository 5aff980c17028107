"""The headers that tell a browser what it must not do with an answer of ours."""

from __future__ import annotations

from multidict import CIMultiDict, istr

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=15552000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
    # Who is asking changes the answer, and which origin asks changes its CORS headers.
    "Vary": "Origin, Authorization",
    "Cache-Control": "no-store",
    "Server": "zmartd",
}
"""Helmet's set for an API that serves no pages, and no caching. A handler's own header wins."""


_BLOCK = CIMultiDict({istr(name): value for name, value in HEADERS.items()})


def secure(headers: CIMultiDict[str]) -> None:
    """Add those that `headers` lack."""
    headers.merge(_BLOCK)
