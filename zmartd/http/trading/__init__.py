"""Estimates, quotes with their transactions, relayed transactions, trades and payouts."""
