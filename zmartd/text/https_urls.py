"""Which texts are https URLs: RFC 3986 says which characters they have, and where."""

from __future__ import annotations

import re
from string import ascii_letters, digits
from typing import Final
from urllib.parse import urlsplit

from zmartd.text.readable import Unreadable

CHARACTERS: Final = ascii_letters + digits + "-._~" + ":/?#[]@" + "!$&'()*+,;=" + "%"
"""Those of a URI (RFC 3986, section 2): unreserved ones, delimiters, and the one of percent-encoding."""

_ALLOWED = frozenset(CHARACTERS)
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_SCHEME_AND_HOST = re.compile("[^/?#]*//[^/?#]*")


def require_https_url(raw: str) -> None:
    """Raises ValueError unless `raw` is an https URL with a host and without a user.

    A character that no URL has there raises Unreadable, which names it with its position.
    """
    _require_characters(raw)
    url = urlsplit(raw)
    if url.scheme != "https" or not url.hostname or "@" in url.netloc or url.port == 0:
        raise ValueError("not an https URL")


def _require_characters(raw: str) -> None:
    begin = _SCHEME_AND_HOST.match(raw)
    path, fragment = 0 if begin is None else begin.end(), raw.find("#")
    for place, one in enumerate(raw):
        if one not in _ALLOWED:
            raise Unreadable.at(place, one, "cannot be in a URL; write it percent-encoded")
        if one == "%" and not _ENCODED.match(raw, place):
            raise Unreadable.at(place, one, "has to be followed by two hexadecimal digits; write it as %25")
        if one in "[]" and place >= path:
            raise Unreadable.at(place, one, "is for IPv6 addresses alone; write it percent-encoded")
        if one == "#" and place > fragment:
            raise Unreadable.at(place, one, "begins a second fragment; write it percent-encoded")
