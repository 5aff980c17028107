"""Filters for accounts of a program: by their size, or by the bytes at an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from solders.account import Account

from zmartd.embedded.localnet.errors import InvalidParams
from zmartd.embedded.localnet.params import Memcmp, ProgramAccountFilter, WireEncoding, decode_bytes

MAX_MEMCMP_BYTES = 128

AccountFilter = Callable[[Account], bool]


def account_filter(filters: Sequence[ProgramAccountFilter]) -> AccountFilter:
    """One filter of all `filters`. Raises InvalidParams when one of them is of neither kind."""
    tests = [_test(one) for one in filters]
    return lambda account: all(test(account) for test in tests)


def _test(wanted: ProgramAccountFilter) -> AccountFilter:
    if wanted.data_size is not None and wanted.memcmp is None:
        size = wanted.data_size
        return lambda account: len(account.data) == size
    if wanted.memcmp is not None and wanted.data_size is None:
        start, content = wanted.memcmp.offset, _memcmp_bytes(wanted.memcmp)
        return lambda account: account.data[start : start + len(content)] == content
    raise InvalidParams("Invalid params: filters: each is {dataSize} or {memcmp}.")


def _memcmp_bytes(memcmp: Memcmp) -> bytes:
    if isinstance(memcmp.wanted, list):
        content = bytes(memcmp.wanted)
        if len(content) > MAX_MEMCMP_BYTES:
            raise InvalidParams(f"Invalid params: filters: memcmp has at most {MAX_MEMCMP_BYTES} bytes.")
        return content
    encoding: WireEncoding = "base64" if memcmp.encoding == "base64" else "base58"
    return decode_bytes("memcmp", memcmp.wanted, encoding, MAX_MEMCMP_BYTES)
