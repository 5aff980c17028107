"""`zmartd demo`: four markets from proposal to payout, compared with the chain."""
