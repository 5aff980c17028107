"""What belongs to a wallet: profile, positions, portfolio, activity, rank."""
