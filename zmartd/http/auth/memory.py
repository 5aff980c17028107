"""What authentication must remember between requests is in Redis: without it nobody can be recognised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from zmartd.http.auth.errors import SessionsUnavailable


@contextmanager
def memory_needed() -> Iterator[None]:
    """Turns Redis being away into SessionsUnavailable."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise SessionsUnavailable from error
