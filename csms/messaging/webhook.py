"""Messages handed over to whoever can send them: a POST to a configured address, where an SMS gateway plugs in.

    POST url
    X-Signature: t=SECONDS,v1=HEX        HMAC-SHA256 of "SECONDS.BODY" with the shared secret
    Idempotency-Key: KEY                 the same message again, which need not go out twice
    {"to", "purpose", "text", "code", "expires_at"}

Any status from 200 to 299 says that it was taken.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import aiohttp

from csms.ports import Clock, Message


class NotTaken(Exception):
    """The address did not take the message."""


class WebhookMessenger:
    """`ports.Messenger` over HTTP. No redirect is followed; nothing of the answer is kept."""

    def __init__(self, *, url: str, secret: str, clock: Clock, timeout_s: float) -> None:
        self._url = url
        self._secret = secret.encode()
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def send(self, message: Message) -> None:
        """Post it once."""
        said = {
            "to": message.to,
            "purpose": message.purpose,
            "text": message.text,
            "code": message.code,
            "expires_at": message.expires_at,
        }
        body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
            "X-Signature": signature(self._secret, body, self._clock.now_ms() // 1000),
        }
        async with (
            aiohttp.ClientSession(timeout=self._timeout) as http,
            http.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise NotTaken(f"status {answer.status}")


def signature(secret: bytes, body: bytes, at_s: int) -> str:
    """What proves that the message is ours, and of now."""
    digest = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class NoMessenger:
    """`ports.Messenger` where nobody sends anything."""

    async def send(self, message: Message) -> None:
        """Refuse."""
        raise NotTaken(f"messages.url is not configured; {message.key} goes nowhere")
