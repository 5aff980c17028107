"""Connections: how many, how long each step may take, and what is not HTTP."""
