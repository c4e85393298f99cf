"""Beckn signatures, made and checked by the buyer's side on its own (BECKN 2), on PyNaCl and hashlib only."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

LIFE_S = 300
SKEW_S = 10
PARAMETER = re.compile(r'\s*([A-Za-z-]+)\s*=\s*"([^"]*)"\s*(?:,|$)')
SIGNED_HEADERS = "(created) (expires) digest"


class SignatureError(Exception):
    """A signature that is missing, malformed, expired or wrong."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A network participant: who it is and the 32-byte seed it signs with."""

    subscriber_id: str
    key_id: str
    seed: bytes

    @property
    def public_key(self) -> str:
        """Base64 of the raw 32-byte public key."""
        return base64.b64encode(bytes(SigningKey(self.seed).verify_key)).decode()


def digest(body: bytes) -> str:
    """Base64 of the unkeyed 64-byte BLAKE2b of the raw body."""
    return base64.b64encode(hashlib.blake2b(body, digest_size=64).digest()).decode()


def signing_string(body: bytes, created: int, expires: int) -> str:
    """What is really signed. The label says BLAKE-512, the function is BLAKE2b-512."""
    return f"(created): {created}\n(expires): {expires}\ndigest: BLAKE-512={digest(body)}"


def sign(identity: Identity, body: bytes, created: int, expires: int | None = None) -> str:
    """The `Authorization` header for exactly these bytes; times in Unix seconds."""
    expires = created + LIFE_S if expires is None else expires
    text = signing_string(body, created, expires).encode()
    signature = base64.b64encode(SigningKey(identity.seed).sign(text).signature).decode()
    return (
        f'Signature keyId="{identity.subscriber_id}|{identity.key_id}|ed25519",algorithm="ed25519",'
        f'created="{created}",expires="{expires}",headers="{SIGNED_HEADERS}",signature="{signature}"'
    )


def parse(header: str | None) -> dict[str, str]:
    """The parameters of a `Signature` header, or a SignatureError."""
    if not header:
        raise SignatureError("no Authorization header")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "signature":
        raise SignatureError(f"not a Signature header: {scheme}")
    found, position = {}, 0
    while position < len(rest):
        matched = PARAMETER.match(rest, position)
        if matched is None:
            raise SignatureError(f"cannot be read from: {rest[position : position + 40]}")
        found[matched.group(1)] = matched.group(2)
        position = matched.end()
    return found


def signer(header: str | None) -> tuple[str, str]:
    """(subscriber id, key id) the header claims."""
    parts = parse(header).get("keyId", "").split("|")
    if len(parts) != 3 or parts[2] != "ed25519":
        raise SignatureError("keyId must be subscriber|key|ed25519")
    return parts[0], parts[1]


def verify(header: str | None, body: bytes, public_key: str, now: int) -> None:
    """Raise SignatureError unless `header` signs exactly `body` with `public_key` and is valid at `now` (seconds)."""
    fields = parse(header)
    if fields.get("headers", SIGNED_HEADERS) != SIGNED_HEADERS:
        raise SignatureError(f"signs other headers: {fields['headers']}")
    try:
        created, expires = int(fields["created"]), int(fields["expires"])
        signature = base64.b64decode(fields["signature"], validate=True)
        key = VerifyKey(base64.b64decode(public_key, validate=True))
    except (KeyError, ValueError, binascii.Error) as malformed:
        raise SignatureError(f"malformed: {malformed}") from malformed
    if created > now + SKEW_S:
        raise SignatureError("created in the future")
    if now > expires + SKEW_S:
        raise SignatureError("expired")
    try:
        key.verify(signing_string(body, created, expires).encode(), signature)
    except (BadSignatureError, ValueError) as wrong:
        raise SignatureError("the signature does not fit the body") from wrong


# -- the static registry: a JSON list of participants --------------------------------------------------------------


def registry_entry(identity: Identity, url: str, kind: str) -> dict[str, Any]:
    """One participant as the registry file lists it; `kind` is BAP, BPP or BG."""
    return {
        "subscriber_id": identity.subscriber_id,
        "unique_key_id": identity.key_id,
        "signing_public_key": identity.public_key,
        "subscriber_url": url,
        "type": kind,
    }


def write_registry(path: Path, *entries: dict[str, Any]) -> None:
    """Add participants to the file (made when absent); an entry of the same key is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several buyers may sign up at once, and the seller may read at any moment: one writer, and a whole file or none.
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = {(e["subscriber_id"], e["unique_key_id"]): e for e in read_registry(path)}
        known |= {(e["subscriber_id"], e["unique_key_id"]): e for e in entries}
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(list(known.values()), indent=2))
        fresh.replace(path)


def read_registry(path: Path) -> list[dict[str, Any]]:
    """All participants; an absent file lists nobody."""
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text())
    return entries
