"""Sign-in with a wallet, sessions and their tokens, and how both end."""
