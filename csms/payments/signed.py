"""Webhooks that are signed with a shared secret."""

from __future__ import annotations

import hashlib
import hmac


def fits(secret: str, body: bytes, given: str) -> bool:
    """Whether `given` is the hexadecimal HMAC-SHA256 of the body as it came; in constant time."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), given.strip().lower().encode(errors="replace"))
