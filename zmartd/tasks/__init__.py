"""Periodic tasks: found by entry point, run under a lease, safe to kill and to run twice."""
