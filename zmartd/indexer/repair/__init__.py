"""The operator's repair of an index that differs from the chain.

`resync` makes one market equal to the chain: it adds missing transactions, or fetches all and replaces event
rows that differ. `repair` decides which markets need which, by audits before and after.
"""
