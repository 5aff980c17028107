from __future__ import annotations

from importlib.util import find_spec


def test_what_the_rpc_client_looks_for_in_each_request_is_there() -> None:
    """httpcore asks sniffio, where there is one, which event loop runs: several times in each request."""
    assert find_spec("sniffio") is not None
