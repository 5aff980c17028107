"""The chain itself: LiteSVM with slots, blockhashes, commitments and a ledger around it."""
