"""The errors of requests, and the status and JSON of every error that a caller sees."""
