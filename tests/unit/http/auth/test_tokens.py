from __future__ import annotations

import base64
import json
from itertools import count
from typing import Any

import jwt
import pytest

from tests.shared_secrets import shared_secret
from tests.signing_wallet import FixedClock, SigningWallet
from zmartd.config import AuthSettings
from zmartd.config_values import ConfigError, SharedSecret
from zmartd.http.auth.tokens import LEEWAY_SECONDS, Tokens
from zmartd.http.errors.auth import AuthExpired, BadToken, SessionOver
from zmartd.http.kit.identity import Session

WALLET = SigningWallet(1).address
SECRET, OLD_SECRET = shared_secret("new"), shared_secret("old")
AUDIENCE = "zmartd:devnet:program"
DAY = 86_400


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


def tokens(
    clock: FixedClock,
    secret: str = SECRET,
    previous: str = "",
    audience: str = AUDIENCE,
    **settings: Any,
) -> Tokens:
    numbers = count(1)
    auth = AuthSettings(
        jwt_secret=SharedSecret(secret), jwt_secret_previous=SharedSecret(previous), **settings
    )
    return Tokens(auth, audience, clock, lambda: f"session-{next(numbers)}")


def issued(issuer: Tokens, clock: FixedClock) -> tuple[str, Session]:
    """The first token of a session that begins now."""
    return issuer.issue(WALLET, int(clock.time()))


def forged(clock: FixedClock, secret: str = SECRET, algorithm: str = "HS256", **changes: object) -> str:
    now = int(clock.time())
    claims = {
        "walletAddress": WALLET,
        "sub": WALLET,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 60,
        "jti": "j",
        "sid": "s",
        "auth_time": now,
        "renewals": 0,
    }
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, secret, algorithm)


def test_a_token_says_who_signed_in_and_until_when(clock: FixedClock) -> None:
    issuer = tokens(clock)
    token, session = issued(issuer, clock)
    now = int(clock.time())
    assert session == Session(WALLET, "session-1", now, 0, now, now + 3_600)
    assert issuer.read(token) == session


def test_a_token_carries_the_claims_that_others_rely_on(clock: FixedClock) -> None:
    token, _ = issued(tokens(clock), clock)
    now = int(clock.time())
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert payload == {
        "walletAddress": WALLET,
        "sub": WALLET,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 3_600,
        "jti": "session-1-0",
        "sid": "session-1",
        "auth_time": now,
        "renewals": 0,
    }


def test_a_token_ends_with_its_hour(clock: FixedClock) -> None:
    issuer = tokens(clock)
    token, _ = issued(issuer, clock)
    clock.now += 3_599
    issuer.read(token)
    clock.now += 1 + LEEWAY_SECONDS
    with pytest.raises(AuthExpired) as refused:
        issuer.read(token)
    assert refused.value.code == "auth_expired"


def test_a_renewal_goes_on_with_the_session(clock: FixedClock) -> None:
    issuer = tokens(clock)
    _, first = issued(issuer, clock)
    began_at = int(clock.time())
    clock.now += 3_000
    token, second = issuer.renew(first)
    assert second == Session(WALLET, "session-1", began_at, 1, began_at + 3_000, began_at + 6_600)
    assert issuer.read(token) == second


def test_no_token_outlives_the_maximum_age_of_its_session(clock: FixedClock) -> None:
    issuer = tokens(clock)
    token, session = issued(issuer, clock)
    ends_at = session.began_at + 30 * DAY
    while session.expires_at < ends_at:
        clock.now += 3_000
        token, session = issuer.renew(session)
    assert (session.renewals, session.expires_at) == (863, ends_at)
    clock.now = ends_at
    issuer.read(token)  # the leeway between clocks
    with pytest.raises(SessionOver):
        issuer.renew(session)
    clock.now = ends_at + LEEWAY_SECONDS
    with pytest.raises(SessionOver) as refused:
        issuer.read(token)
    assert refused.value.code == "auth_session_over"


def test_a_lowered_setting_shortens_earlier_tokens(clock: FixedClock) -> None:
    token, _ = issued(tokens(clock), clock)
    clock.now += 600
    with pytest.raises(AuthExpired):
        tokens(clock, token_seconds=500).read(token)
    with pytest.raises(SessionOver):
        tokens(clock, session_seconds=500).read(token)


@pytest.mark.parametrize("other", ["zmartd:mainnet:program", "zmartd:devnet:another program"])
def test_a_token_for_another_cluster_is_refused_despite_the_same_secret(
    clock: FixedClock, other: str
) -> None:
    token, _ = issued(tokens(clock), clock)
    with pytest.raises(BadToken):
        tokens(clock, audience=other).read(token)


def test_tokens_of_the_previous_secret_are_valid_during_a_rotation(clock: FixedClock) -> None:
    token, session = issued(tokens(clock, OLD_SECRET), clock)
    assert tokens(clock, SECRET, previous=OLD_SECRET).read(token) == session
    with pytest.raises(BadToken):
        tokens(clock, SECRET).read(token)


def test_new_tokens_are_signed_with_the_present_secret(clock: FixedClock) -> None:
    token, _ = issued(tokens(clock, SECRET, previous=OLD_SECRET), clock)
    tokens(clock, SECRET).read(token)
    with pytest.raises(BadToken):
        tokens(clock, OLD_SECRET).read(token)


def test_a_running_daemon_takes_new_secrets_and_forgets_what_it_has_read_with_others(
    clock: FixedClock,
) -> None:
    running = tokens(clock, OLD_SECRET)
    token, session = issued(running, clock)
    assert running.read(token) == session
    rotated = AuthSettings(jwt_secret=SharedSecret(SECRET), jwt_secret_previous=SharedSecret(OLD_SECRET))
    running.rotate(rotated)
    assert running.read(token) == session
    new, _ = issued(running, clock)
    running.rotate(AuthSettings(jwt_secret=SharedSecret(SECRET)))
    running.read(new)
    with pytest.raises(BadToken):
        running.read(token)
    with pytest.raises(ConfigError):
        running.rotate(AuthSettings())
    running.read(new)


def test_an_unsigned_token_is_refused(clock: FixedClock) -> None:
    with pytest.raises(BadToken):
        tokens(clock).read(forged(clock, "", "none"))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_token_signed_with_another_algorithm_is_refused(clock: FixedClock, algorithm: str) -> None:
    with pytest.raises(BadToken):
        tokens(clock).read(forged(clock, algorithm=algorithm))


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"sub": 7},
        {"sub": "not an address", "walletAddress": "not an address"},
        {"walletAddress": None},
        {"walletAddress": SigningWallet(2).address},
        {"jti": 5},
        {"aud": None},
        {"aud": ""},
        {"aud": "zmartd:mainnet:program"},
        {"aud": ["another"]},
        {"sid": None},
        {"sid": ""},
        {"sid": 5},
        {"auth_time": None},
        {"auth_time": "then"},
        {"renewals": None},
        {"renewals": True},
        {"exp": None},
        {"exp": "never"},
        {"exp": True},
        {"iat": None},
        {"iat": 9_999_999_999},
    ],
)
def test_a_token_without_the_claims_it_needs_is_refused(clock: FixedClock, changes: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        tokens(clock).read(forged(clock, **changes))


@pytest.mark.parametrize(
    "text", ["", ".", "a.b.c", "é.é.é", "\ud800", "x" * 100_000, "eyJhbGciOiJIUzI1NiJ9.."]
)
def test_text_that_is_not_a_token_is_refused(clock: FixedClock, text: str) -> None:
    with pytest.raises(BadToken):
        tokens(clock).read(text)


def test_a_token_with_one_character_changed_is_refused(clock: FixedClock) -> None:
    issuer = tokens(clock)
    token, _ = issued(issuer, clock)
    head, payload, signature = token.split(".")
    for changed in (f"{head}.{payload[:-2]}AA.{signature}", f"{head}.{payload}.A{signature[1:]}"):
        assert changed != token
        with pytest.raises(BadToken):
            issuer.read(changed)


@pytest.mark.parametrize("previous", ["", OLD_SECRET])
def test_no_token_is_signed_without_a_secret(clock: FixedClock, previous: str) -> None:
    with pytest.raises(ConfigError, match=r"auth\.jwt_secret: sessions need a key"):
        tokens(clock, "", previous)
