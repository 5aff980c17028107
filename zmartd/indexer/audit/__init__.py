"""The audit of the index against the chain's accounts.

`account_facts` and `indexed_facts` read the same facts from either side, `comparison` finds what differs, and
`audit` repeats a comparison until it is conclusive, since both sides change while they are read.
"""
