"""Comments on markets."""
