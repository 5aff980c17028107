"""Changes of markets, from the daemon that committed them to the WebSocket clients of all daemons.

The indexer and the API publish `messages` on the `bus` (Redis pub/sub). The `hub` of each daemon receives
them and sends them, as `frames` with `frame_data`, to the clients of their `topic`. A client that subscribes
first gets a snapshot of the market (`snapshots`).
"""
