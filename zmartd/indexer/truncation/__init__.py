"""Transactions whose logs the runtime truncated: `inference` works their missing events out from their
instructions, `recovery` applies these and verifies the result with an audit of the markets."""
