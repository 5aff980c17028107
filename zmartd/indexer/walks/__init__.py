"""Walks over the signatures of an address, oldest first, although RPC nodes list them newest first.

`checkpointed` walks from the program's checkpoint to the newest transaction and resumes interrupted walks.
`ranged` walks through a given range and keeps no state. `backfill` applies what the index lacks of such a
range.
"""
