"""What happens around every handler, in the order in which a request passes it.

| | step | where |
|---|---|---|
| 1 | access log, request id, timing | `access_log` |
| 2 | security headers | `security_headers` |
| 3 | CORS: headers for browsers; preflights are routes of their own | `cors` |
| 4 | errors become JSON | `zmartd.http.kit.error_responses` |
| 5 | authentication: who is calling, if anybody; it refuses nobody | `zmartd.http.auth.authenticator` |
| 6 | rate limits: of an address, and of a wallet that has signed in | `rate_limit` |
| 7 | what the operation declares, and its handler | `zmartd.http.kit.dispatch` |

`chain` makes one aiohttp middleware of steps 1 to 6. Requests that no route takes pass it, too: `unmatched`.

Who is calling is found out before requests are counted, because signed-in wallets have higher limits.
"""
