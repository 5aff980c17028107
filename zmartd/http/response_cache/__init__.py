"""Answers that are asked for all the time, served from memory.

`answers` keeps them and knows when they stop being true, `reads` says how a handler's answer is kept, and
`operations` which handlers' are.

What a caller can rely on: a change that this daemon made itself is in the next answer. One that another
daemon made is in it as soon as that daemon's message arrives over the bus, and within MAX_AGE_SECONDS when
the bus is away or the change was not announced. A request with `Cache-Control: no-cache` is answered from
the database whatever is kept, on every daemon.
"""
