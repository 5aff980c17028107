from __future__ import annotations

import pytest

from zmartd.http.ws.handshake import deflate_answer

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ([], None),
        (["permessage-deflate"], AGREED),
        (["permessage-deflate; client_max_window_bits"], AGREED),
        (['permessage-deflate; client_max_window_bits="10"; server_no_context_takeover'], AGREED),
        (["permessage-deflate; server_max_window_bits=15"], AGREED + "; server_max_window_bits=15"),
        (["permessage-deflate; server_max_window_bits=10"], None),
        (["permessage-deflate; server_max_window_bits=10, permessage-deflate"], AGREED),
        (["x-webkit-deflate-frame", "permessage-deflate"], AGREED),
        (["permessage-deflate; server_no_context_takeover=1"], None),
        (["permessage-deflate; client_max_window_bits=7"], None),
        (["permessage-deflate; client_max_window_bits; client_max_window_bits=9"], None),
        (["permessage-deflate; unknown"], None),
        ([";;,=,"], None),
    ],
)
def test_compression_is_agreed_on_only_where_the_same_bytes_do_for_all(
    offers: list[str], answer: str | None
) -> None:
    assert deflate_answer(offers) == answer
