"""The chapters of docs/ as pages at /docs/guide, for users and operators who have nothing but the daemon."""
