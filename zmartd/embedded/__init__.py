"""Postgres, Valkey and a Solana chain of our own processes, for development, tests and the demo."""
