"""Backups: a dump of the whole database that is counted against its source, and the way back."""
