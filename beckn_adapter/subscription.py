"""Joining a network with a classic registry: our entry, and the proof that the keys in it are ours (BECKN 3.1).

We post our entry to `/subscribe`; the registry then calls our `/on_subscribe` with a challenge. By the specification it
is encrypted for us: X25519 of our encryption key and the registry's gives an AES-256-ECB key. Protocol servers sign the
challenge instead; then only texts are signed that can be no signing string, or we would sign messages for strangers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from aiohttp import web
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from nacl.signing import SigningKey

from beckn_adapter.signing import KeyProblem
from csms.domain.units import rfc3339
from csms.ports import Clock

log = structlog.get_logger()

KEY_BYTES: Final = 32
MAX_CHALLENGE_CHARS: Final = 4096
MAX_PER_MINUTE: Final = 20
BODY_LIMIT: Final = 64 * 1024
BODY_S: Final = 10.0
# RFC 8410, as for Ed25519: the prefix of an X25519 key, public and private, before its 32 raw bytes.
_SPKI: Final = bytes.fromhex("302a300506032b656e032100")
_PKCS8: Final = bytes.fromhex("302e020100300506032b656e04220420")
_PLAIN_CHALLENGE: Final = re.compile(r"[A-Za-z0-9+/=_.-]{8,512}")


class ChallengeProblem(ValueError):
    """The challenge cannot be answered; the text says why and tells nothing of our keys."""


def load_encryption_key(text: str) -> bytes:
    """A configured X25519 private key -> 32 bytes. Takes base64 of the raw key or of its PKCS 8 form."""
    return _key(text, _PKCS8, "the encryption key")


def load_encryption_public_key(text: str) -> bytes:
    """A published X25519 key -> 32 bytes. Takes base64 of the raw key or of its SPKI form."""
    return _key(text, _SPKI, "the registry's encryption key")


def encryption_public_of(private: bytes) -> bytes:
    """The 32-byte public key that belongs to an X25519 private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def decrypt_challenge(challenge: str, private: bytes, registry_public: bytes) -> str:
    """The plain text of a registry's challenge. Raises ChallengeProblem."""
    try:
        sealed = base64.b64decode("".join(challenge.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ChallengeProblem("the challenge is not base64") from None
    if not sealed or len(sealed) % 16:
        raise ChallengeProblem("the challenge is not a whole number of AES blocks")
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(registry_public)
        )
        # ECB is what the specification demands; what it hides is a single random text.
        cipher = Cipher(algorithms.AES256(shared), modes.ECB()).decryptor()  # noqa: S305
        unpadder = padding.PKCS7(128).unpadder()
        plain = unpadder.update(cipher.update(sealed) + cipher.finalize()) + unpadder.finalize()
        return plain.decode()
    except ValueError:
        raise ChallengeProblem("the challenge was not encrypted with our key and the registry's") from None


def sign_challenge(challenge: str, seed: bytes) -> str:
    """base64 of signature and challenge, as protocol servers answer. Raises ChallengeProblem.

    What we sign by Beckn has parentheses, colons and line ends; a challenge that has any is never signed.
    """
    if _PLAIN_CHALLENGE.fullmatch(challenge) is None:
        raise ChallengeProblem("the challenge is not a plain word of 8 to 512 characters")
    return base64.b64encode(bytes(SigningKey(seed).sign(challenge.encode()))).decode()


def entry(
    *,
    subscriber_id: str,
    url: str,
    domain: str,
    key_id: str,
    signing_public_key: bytes,
    encryption_public_key: bytes,
    valid_from_ms: int,
    valid_until_ms: int,
    nonce: str,
    location: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of `/subscribe`: what the registry shall list for us."""
    body: dict[str, Any] = {
        "subscriber_id": subscriber_id,
        "url": url,
        "type": "BPP",
        "domain": domain,
        "key_id": key_id,
        "signing_public_key": base64.b64encode(signing_public_key).decode(),
        "encr_public_key": base64.b64encode(encryption_public_key).decode(),
        "valid_from": rfc3339(valid_from_ms),
        "valid_until": rfc3339(valid_until_ms),
        "nonce": nonce,
    }
    return body | ({"location": dict(location)} if location is not None else {})


class OnSubscribe:
    """The public route that answers challenges. `answers` are the ways to answer, tried in turn: while keys are being
    replaced there are two."""

    def __init__(self, answers: Callable[[], Sequence[Callable[[str], str]]], clock: Clock) -> None:
        self._answers = answers
        self._clock = clock
        self._asked_ms: list[int] = []

    def routes(self, bases: Sequence[str]) -> list[web.RouteDef]:
        """Below the address registered for us, and at the short one. They come before routes for any action."""
        return [web.post(f"{base}/on_subscribe", self.receive) for base in ("/beckn", *bases)]

    async def receive(self, request: web.Request) -> web.Response:
        """`{"challenge": …}` -> `{"answer": …}`. Anybody may ask, so only seldom."""
        now_ms = self._clock.now_ms()
        self._asked_ms = [at_ms for at_ms in self._asked_ms if 0 <= now_ms - at_ms < 60_000]
        if len(self._asked_ms) >= MAX_PER_MINUTE:
            return _no(429, "too many challenges; wait a minute")
        self._asked_ms.append(now_ms)
        raw = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.content.iter_any():
                    raw += chunk
                    if len(raw) > BODY_LIMIT:
                        return _no(413, "the body is too long")
        except TimeoutError:
            return _no(408, "the body did not come in time")
        try:
            said = json.loads(raw)
        except (ValueError, RecursionError):
            return _no(400, "the body is not JSON")
        challenge = said.get("challenge") if isinstance(said, dict) else None
        if not isinstance(challenge, str) or not 0 < len(challenge) <= MAX_CHALLENGE_CHARS:
            return _no(400, "challenge is missing or too long")
        ways = self._answers()
        if not ways:
            return _no(404, "challenges are not answered here")
        sentence = ""
        for way in ways:
            try:
                answer = way(challenge)
            except ChallengeProblem as problem:
                sentence = str(problem)
                continue
            log.info("beckn.challenge_answered")
            return web.json_response({"answer": answer})
        log.warning("beckn.challenge_not_answered", problem=sentence)
        return _no(400, sentence)


def _no(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": {"code": str(status), "message": sentence}}, status=status)


def _key(text: str, prefix: bytes, what: str) -> bytes:
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise KeyProblem(f"{what} is not base64") from None
    raw = raw.removeprefix(prefix)
    if len(raw) != KEY_BYTES:
        raise KeyProblem(f"{what} is {len(raw)} bytes; an X25519 key has {KEY_BYTES}")
    return raw
