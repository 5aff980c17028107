"""The periodic comparison of the index with the chain's signatures, so that no webhook has to be trusted.

`reconciler` applies the transactions that no webhook delivered. `reorgs` has all that is not
finalized compared with the chain (`zmartd.indexer.finality`).
"""
