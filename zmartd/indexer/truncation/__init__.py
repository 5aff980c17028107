"""Transactions whose logs the runtime truncated.

`inference` computes the events that the logs lack, call after call. What an instruction of the program says
is declared once, in a module for each group of them: `configuration`, `proposals`, `trading`, `outcomes` and
`payouts`. `known` is what the program had in its accounts when it ran, `history` reads that from the index,
and `recovery` applies inferred events and compares the index with the accounts.
"""
