"""The chain: LiteSVM with slots, blockhashes, commitments and a ledger."""
