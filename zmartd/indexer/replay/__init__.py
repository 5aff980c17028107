"""Applies the program's whole history to an empty database and compares `checksums` of both databases."""
