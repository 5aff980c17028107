"""What events do to the projection: market rows, trades, positions, votes and the configuration.

Each module applies the effects of one kind of event inside a database transaction that is given to it.
`apply_effects` calls them in order. It serves new events (`Indexer.apply`) and rebuilt markets alike, so that
both result in the same rows. `market_messages` makes the messages for subscribers.
"""
