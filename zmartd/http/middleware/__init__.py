"""The middlewares, in the order in which a request passes them.

| | step | where |
|---|---|---|
| 1 | access log, request id, timing | `access_log` |
| 2 | security headers | `security_headers` |
| 3 | CORS | `cors`, by route and by signal: preflights are routes of their own |
| 4 | errors become JSON | `errors` |
| 5 | authentication: who is calling, if anybody | `auth.identity`; handlers ask it for what they need |
| 6 | rate limits: a wallet's that has signed in, or an address' | `rate_limit` |
| 7 | writes with an `Idempotency-Key`: the first answer, again | `idempotency` |
| 8 | errors again, so that an error is kept, too, and tells the caller where it stands | `errors` |
| 9 | body: size, content type, JSON, all failing fields | `codec.decode_body`, with the type of the route |
| 10 | the handler | |

Who is calling is found out before requests are counted, because a wallet has a higher limit of its own; it
refuses nobody. A handler reads its body before it asks who is calling, so that a malformed request is told so
first.
"""
