from __future__ import annotations

import hashlib
import hmac

import pytest

from tests.shared_secrets import shared_secret
from zmartd.config import HeliusSettings, ServerSettings, Settings
from zmartd.config_values import ConfigError, SharedSecret
from zmartd.http.machines.webhook_credentials import WebhookCredentials, require_webhook_secret

NEW, OLD = shared_secret("new"), shared_secret("old")
NEW_KEY, OLD_KEY = shared_secret("new key"), shared_secret("old key")
BODY = '[{"slot": 1, "ä": 1.0}]'.encode()


def signature(key: str, body: bytes = BODY) -> str:
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def test_the_registered_value_authorizes_with_or_without_bearer() -> None:
    credentials = WebhookCredentials(HeliusSettings(authorization=SharedSecret(NEW)))
    assert credentials.authorize(NEW)
    assert credentials.authorize(f"Bearer {NEW}")
    for header in ("", OLD, f"{NEW[:-1]}x", f"{NEW} ", "Bearer", f"bearer {NEW}", "\udc80", f"{NEW}2"):
        assert not credentials.authorize(header)


def test_both_values_count_during_a_rotation() -> None:
    credentials = WebhookCredentials(
        HeliusSettings(
            authorization=SharedSecret(NEW),
            authorization_previous=SharedSecret(OLD),
            hmac_secret=SharedSecret(NEW_KEY),
            hmac_secret_previous=SharedSecret(OLD_KEY),
        )
    )
    assert credentials.authorize(NEW)
    assert credentials.authorize(OLD)
    assert credentials.verify(signature(NEW_KEY), BODY)
    assert credentials.verify(signature(OLD_KEY), BODY)


def test_the_hmac_is_over_the_raw_bytes() -> None:
    credentials = WebhookCredentials(HeliusSettings(hmac_secret=SharedSecret(NEW_KEY)))
    good = signature(NEW_KEY)
    for header in (good, f"sha256={good}", good.upper(), f" {good} "):
        assert credentials.verify(header, BODY)
    for header in ("", good[:-1], good + "0", "sha256=", signature(OLD_KEY), "\udcff"):
        assert not credentials.verify(header, BODY)
    assert not credentials.verify(good, BODY + b" ")


def test_an_empty_value_authorizes_nobody() -> None:
    credentials = WebhookCredentials(HeliusSettings())
    assert not credentials.configured
    assert not credentials.authorize("")
    assert not credentials.verify(signature(""), BODY)


def test_only_a_development_daemon_on_the_loopback_address_may_have_an_open_webhook() -> None:
    require_webhook_secret(Settings(server=ServerSettings(environment="development")))
    require_webhook_secret(Settings(helius=HeliusSettings(authorization=SharedSecret(NEW))))
    require_webhook_secret(Settings(helius=HeliusSettings(hmac_secret=SharedSecret(NEW_KEY))))
    for server in (ServerSettings(), ServerSettings(environment="development", host="0.0.0.0")):
        with pytest.raises(ConfigError, match=r"helius\.authorization: set it"):
            require_webhook_secret(Settings(server=server))
