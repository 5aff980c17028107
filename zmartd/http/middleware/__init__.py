"""What happens around the handlers, in the order in which a request passes it.

| | step | where |
|---|---|---|
| 1 | access log, request id, timing | `access_log` |
| 2 | security headers | `security_headers` |
| 3 | CORS: headers for browsers; preflights are routes of their own | `cors` |
| 4 | errors become JSON | `errors` |
| 5 | authentication: who is calling, if anybody | `auth.identity`; handlers ask it for what they need |
| 6 | rate limits: of an address, and of a wallet that has signed in | `rate_limit` |
| 7 | writes with an `Idempotency-Key`: the first answer, again | `idempotency`, around each such handler |
| 8 | body: size, content type, JSON, all failing fields | `codec.decode_body`, with the type of the route |
| 9 | the handler | |

`chain` makes one of steps 1 to 6, which `server.Runner` puts around the whole application.

Who is calling is found out before requests are counted, because signed-in wallets have higher limits; it
refuses nobody. A handler reads its body before it asks who is calling, so that a malformed request is told so
first.
"""
