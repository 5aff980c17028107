"""The market's rules, as pure functions."""
