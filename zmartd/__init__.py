"""zmartd: the off-chain half of a Solana prediction market, in one process."""

__version__ = "0.1.0"
