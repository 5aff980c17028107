"""The periodic comparison of the index with the chain's signatures, so that no webhook has to be trusted.

`reconciler` applies the transactions that no webhook delivered. `reorgs` marks transactions as finalized, and
rolls back those that the chain does not have, or has otherwise.
"""
