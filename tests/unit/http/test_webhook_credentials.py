from __future__ import annotations

import hashlib
import hmac

import pytest

from zmartd.config import ConfigError, Helius, Secret, Server, Settings
from zmartd.http.helius import Credentials, require_webhook_secret

BODY = '[{"slot": 1, "ä": 1.0}]'.encode()


def signature(key: bytes, body: bytes = BODY) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def test_the_registered_value_authorizes_with_or_without_bearer() -> None:
    credentials = Credentials(Helius(authorization=Secret("value-1")))
    assert credentials.authorize("value-1")
    assert credentials.authorize("Bearer value-1")
    for header in ("", "value-2", "value-1 ", "Bearer", "bearer value-1", "\udc80", "value-12"):
        assert not credentials.authorize(header)


def test_both_values_count_during_a_rotation() -> None:
    credentials = Credentials(
        Helius(
            authorization=Secret("new"),
            authorization_previous=Secret("old"),
            hmac_secret=Secret("new-key"),
            hmac_secret_previous=Secret("old-key"),
        )
    )
    assert credentials.authorize("new")
    assert credentials.authorize("old")
    assert credentials.verify(signature(b"new-key"), BODY)
    assert credentials.verify(signature(b"old-key"), BODY)


def test_the_hmac_is_over_the_raw_bytes() -> None:
    credentials = Credentials(Helius(hmac_secret=Secret("key")))
    good = signature(b"key")
    for header in (good, f"sha256={good}", good.upper(), f" {good} "):
        assert credentials.verify(header, BODY)
    for header in ("", good[:-1], good + "0", "sha256=", signature(b"other"), "\udcff"):
        assert not credentials.verify(header, BODY)
    assert not credentials.verify(good, BODY + b" ")


def test_an_empty_value_authorizes_nobody() -> None:
    credentials = Credentials(Helius())
    assert not credentials.configured
    assert not credentials.authorize("")
    assert not credentials.verify(signature(b""), BODY)


def test_only_a_development_daemon_on_the_loopback_address_may_have_an_open_webhook() -> None:
    require_webhook_secret(Settings(server=Server(environment="development")))
    require_webhook_secret(Settings(helius=Helius(authorization=Secret("value"))))
    require_webhook_secret(Settings(helius=Helius(hmac_secret=Secret("value"))))
    for server in (Server(), Server(environment="development", host="0.0.0.0")):
        with pytest.raises(ConfigError, match=r"helius\.authorization: set it"):
            require_webhook_secret(Settings(server=server))
