"""The steps around every handler, in the order in which a request passes through them.

| | step | module |
|---|---|---|
| 1 | access log, request id, timing | `access_log` |
| 2 | security headers | `security_headers` |
| 3 | CORS headers for browsers; preflights have routes of their own | `cors` |
| 4 | errors become JSON | `zmartd.http.kit.error_responses` |
| 5 | authentication: finds out who is calling, and refuses nobody | `zmartd.http.auth.authenticator` |
| 6 | look-up of a response in memory, which weighs less | `zmartd.http.response_cache` |
| 7 | rate limits of an address, and of a wallet that has signed in | `request_buckets`, `rate_limiter` |
| 8 | everything that the operation declares, then its handler | `zmartd.http.kit.dispatch` |

`chain` puts steps 1 to 7 around each handler when its route is added. Requests that no route takes pass them,
too: see `unmatched`.

Authentication comes before the rate limits because a signed-in wallet has higher ones.
"""
