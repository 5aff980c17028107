"""Sign-in: the challenge that a wallet signs, and the verification of the signed message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.config import AuthSettings
from zmartd.endpoint import is_loopback_domain
from zmartd.http.auth import siws
from zmartd.http.auth.attempt_limiter import AttemptLimiter
from zmartd.http.auth.nonces import Nonces
from zmartd.http.auth.offchain_message import MalformedEnvelope, read_signed_text
from zmartd.http.auth.signatures import decode_signature, require_signature
from zmartd.http.auth.siws import MalformedMessage, SignInMessage
from zmartd.http.errors.auth import AuthExpired, BadMessage, BadSignature
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.market.ids import base58_decode

STATEMENT = "Sign in to ZMART. This costs nothing and sends no transaction."
CLOCK_SKEW = timedelta(seconds=60)
"""How far the clock of a wallet may differ from that of the daemon."""

ADDRESS_ATTEMPTS = 100
WALLET_ATTEMPTS = 10
"""By minute. Many people may share an address; a wallet needs one session at a time."""

_SHOWN_LENGTH = 253
"""The longest name of a host (RFC 1035)."""


class Challenge(Struct, frozen=True):
    """The parts of a message to sign. `message` is the whole text where the wallet is known."""

    nonce: str
    domain: str
    expires_at: datetime
    message: str | None


class SignIn:
    """Issues challenges and verifies signed messages.

    With `every_loopback`, messages may also be for any domain of this machine.
    """

    def __init__(
        self,
        settings: AuthSettings,
        cluster: str,
        nonces: Nonces,
        attempts: AttemptLimiter,
        clock: Clock,
        *,
        every_loopback: bool = False,
    ) -> None:
        self._domains = tuple(domain.lower() for domain in settings.domains)
        self._every_loopback = every_loopback
        self._cluster = cluster
        self._lifetime = timedelta(seconds=settings.nonce_seconds)
        self._nonces = nonces
        self._attempts = attempts
        self._clock = clock

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that a message may name, from the settings."""
        return self._domains

    @property
    def cluster(self) -> str:
        """The chain id that a message may name."""
        return self._cluster

    def challenge(self, wallet: str | None, domain: str | None) -> Challenge:
        """A challenge for `domain`, or for the first of the settings. Raises InvalidRequest for others."""
        domain = domain.lower() if domain else self._domains[0]
        if not self._accepts(domain):
            raise InvalidRequest(Problem("domain", self._unknown(domain)))
        nonce = self._nonces.issue(wallet)
        now = self._now()
        expires_at = now + self._lifetime
        if wallet is None:
            return Challenge(nonce, domain, expires_at, None)
        message = SignInMessage(
            domain=domain,
            address=wallet,
            statement=STATEMENT,
            uri=_origin(domain),
            version="1",
            chain_id=self._cluster,
            nonce=nonce,
            issued_at=now,
            expiration_time=expires_at,
        )
        return Challenge(nonce, domain, expires_at, message.text())

    async def verify(self, signed: bytes, signature: str, wallet: str | None, address: str) -> str:
        """The wallet that signed `signed`: a message, or an envelope with one in it.

        The caller claims to be `wallet` and calls from `address`. The nonce is consumed, and an attempt of
        the wallet counted, only after the signature is verified: nobody without the wallet's key can exhaust
        its attempts. Raises BadMessage, BadSignature, AuthExpired, TooManyAttempts, SessionsUnavailable.
        """
        await self._attempts.count("address", address, ADDRESS_ATTEMPTS)
        message = parse_message(signed)
        if wallet is not None and wallet != message.address:
            raise BadSignature("The message names another wallet than the request.")
        require_signature(message.address, signed, decode_signature(signature))
        self._check(message)
        assert message.nonce is not None
        if not await self._nonces.consume(message.nonce, message.address):
            raise AuthExpired("The nonce is unknown, used or expired; get a new one.")
        await self._attempts.count("wallet", message.address, WALLET_ATTEMPTS)
        return message.address

    def _accepts(self, domain: str) -> bool:
        return domain in self._domains or (self._every_loopback and is_loopback_domain(domain))

    def _check(self, message: SignInMessage) -> None:
        if not self._accepts(message.domain.lower()):
            raise BadMessage(f"The domain of the message {self._unknown(message.domain)}; sign it anew.")
        if message.uri is not None and _authority(message.uri) != message.domain.lower():
            raise BadMessage(
                f"The URI of the message has to be of its domain, {message.domain}; sign it anew."
            )
        if message.cluster not in {None, self._cluster}:
            raise BadMessage(f"The Chain ID of the message has to be {self._cluster}.")
        if message.nonce is None:
            raise BadMessage("The message has no Nonce; get one from GET /api/auth/nonce.")
        if message.issued_at is None:
            raise BadMessage("The message has no Issued At.")
        now = self._now()
        if message.issued_at > now + CLOCK_SKEW:
            raise AuthExpired("Issued At is in the future; check the clock of the wallet's device.")
        if message.issued_at < now - self._lifetime - CLOCK_SKEW:
            raise AuthExpired("Issued At is too long ago; get a new nonce and sign again.")
        if message.expiration_time is not None and message.expiration_time <= now:
            raise AuthExpired("The Expiration Time has passed; get a new nonce and sign again.")
        if message.not_before is not None and message.not_before > now:
            raise AuthExpired("The Not Before has not come yet; sign in later.")

    def _unknown(self, domain: str) -> str:
        """What a domain must be that is not accepted. Whoever asks for a nonce is told the domains anyway."""
        only_here = all(is_loopback_domain(one) for one in self._domains)
        setting = "; the setting auth.domains adds others" if only_here else ""
        shown = domain[:_SHOWN_LENGTH]
        return f'must be one of {", ".join(self._domains)}, not "{shown}"{setting}'

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


SIGN_IN: Final[web.AppKey[SignIn]] = web.AppKey("sign_in")


def parse_message(signed: bytes) -> SignInMessage:
    """The fields of the sign-in message in the bytes that were signed. Raises BadMessage."""
    try:
        found = read_signed_text(signed)
        message = siws.parse(found.text)
    except (MalformedEnvelope, MalformedMessage) as error:
        raise BadMessage(f"This is not a Sign In With Solana message: {error}.") from error
    if found.signer is not None and found.signer != base58_decode(message.address):
        raise BadMessage("The envelope names another signer than the wallet that the message is about.")
    return message


def _authority(uri: str) -> str | None:
    """The host of a URI, with its port where it names one; None where it has none."""
    try:
        return urlsplit(uri).netloc.lower() or None
    except ValueError:
        return None


def _origin(domain: str) -> str:
    return f"{'http' if is_loopback_domain(domain) else 'https'}://{domain}"
