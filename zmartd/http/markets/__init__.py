"""Markets: the list, one market, its history, and the transactions that move it along."""
