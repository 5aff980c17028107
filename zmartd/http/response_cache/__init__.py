"""Responses to frequent requests, served from memory.

`cache` stores them and invalidates them. `policies` decides what is cached and under which key; an operation
declares its policy as `cache`.

What a client can rely on: a change that this daemon made is in its next response. A change that another
daemon made is in it as soon as that daemon's message arrives over the bus; without a message, or while the
bus is away, within MAX_AGE_SECONDS, and a second more where it was read from a replica. A request with
`Cache-Control: no-cache` is always answered from the database. What only the node knows is up to
MAX_AGE_SECONDS old for everybody: such a header costs its sender nothing, and a request to the node does.
"""
