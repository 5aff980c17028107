"""Alerts: the rules, what they are about, who is told, and how a message reaches them."""
