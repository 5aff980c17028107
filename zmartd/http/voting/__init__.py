"""Votes on proposals and disputes, and how a market becomes final."""
