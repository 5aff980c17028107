"""The headers that restrict what a browser does with a response."""

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
    # The response depends on the caller, its CORS headers on the origin.
    "Vary": "Origin, Authorization",
    "Cache-Control": "no-store",
    "Server": "zmartd",
}
"""The set of Helmet (Node.js) for an API without pages, and no caching. A handler's own header wins."""

_HEADERS = CIMultiDict({istr(name): value for name, value in HEADERS.items()})


def add_security_headers(headers: CIMultiDict[str]) -> None:
    """Add those that `headers` lack."""
    headers.merge(_HEADERS)
