"""From what a wallet or the authority wants to a transaction that is indexed."""
