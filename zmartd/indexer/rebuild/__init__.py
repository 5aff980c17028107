"""Changes to event rows that are already recorded, and the rebuild of what is derived from them.

Effects have no inverse. After event rows were removed (`rollback`: the transaction is not on the chain) or
replaced (`replacement`: the rows differ from the chain, as `event_diff` finds), the markets that they touched
are rebuilt from their event rows (`markets`), in the same database transaction.
"""
