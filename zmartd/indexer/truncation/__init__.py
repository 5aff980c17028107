"""Transactions whose logs the runtime truncated.

`inference` computes the events that the logs lack from the transaction's instructions. `recovery` applies
them and compares the markets with their accounts.
"""
