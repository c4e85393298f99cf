"""Signing what we send and verifying what we receive (BECKN 2; the same in every dialect).

The digest is taken over the raw bytes of the body: sign the bytes that are sent, verify the bytes that came,
never a re-serialised copy. Times here are Unix seconds, because that is what the header carries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

ALGORITHM: Final = "ed25519"
SIGNED_HEADERS: Final = ("(created)", "(expires)", "digest")
REQUEST_SIGNATURE: Final = "request-signature"  # the fourth line of BECKN 2.4
LIFETIME_S: Final = 300  # what the reference adapter signs with
BACKDATE_S: Final = 2  # a peer whose clock is a little behind and tolerates nothing must not refuse us
CREATED_SKEW_S: Final = 10
EXPIRES_SKEW_S: Final = 5
MAX_HEADER_CHARS: Final = 4096
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
# RFC 8410: SubjectPublicKeyInfo of an Ed25519 key is this prefix and the 32 raw bytes.
SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")


class ProblemKind(StrEnum):
    """Why a signature was not believed."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    MISMATCH = "mismatch"
    UNKNOWN_SIGNER = "unknown-signer"
    WRONG_SIGNER = "wrong-signer"


class SignatureProblem(Exception):
    """Not proven to come from who it says. `kind` for programs, `sentence` for the answer.

    `is_gateway`: the signature of a gateway failed, which is told in another header (BECKN 2.3).
    """

    def __init__(self, kind: ProblemKind, sentence: str, *, is_gateway: bool = False) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind = kind
        self.sentence = sentence
        self.is_gateway = is_gateway

    def at_gateway(self) -> SignatureProblem:
        """The same, about the gateway's signature."""
        prefix = "" if self.is_gateway else "the gateway's signature: "
        return SignatureProblem(self.kind, prefix + self.sentence, is_gateway=True)


class KeyProblem(ValueError):
    """A configured or published key is not a key. The text never contains the key."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """A parsed signature header. Nothing of it is believed until `verify` says so."""

    subscriber_id: str
    key_id: str
    created_s: int
    expires_s: int
    headers: tuple[str, ...]
    signature: bytes

    @property
    def signature_text(self) -> str:
        """The signature as base64, which is what `request-signature` of an answer refers to."""
        return base64.b64encode(self.signature).decode()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who a verified message is from."""

    subscriber_id: str
    key_id: str


# --- signing ------------------------------------------------------------------------------------------------


def validity(now_s: int) -> tuple[int, int]:
    """`(created, expires)` to sign with at `now_s`."""
    created = now_s - BACKDATE_S
    return created, created + LIFETIME_S


def digest(body: bytes) -> str:
    """base64 of BLAKE2b-512 over the raw body."""
    return base64.b64encode(hashlib.blake2b(body, digest_size=64).digest()).decode()


def signing_string(body: bytes, created_s: int, expires_s: int, request_signature: str | None = None) -> bytes:
    """The text that is signed. The label says BLAKE-512 although the function is BLAKE2b-512 (BECKN 2.1)."""
    text = f"(created): {created_s}\n(expires): {expires_s}\ndigest: BLAKE-512={digest(body)}"
    if request_signature is not None:
        text += f"\n{REQUEST_SIGNATURE}: {request_signature}"
    return text.encode()


def sign(
    body: bytes,
    subscriber_id: str,
    key_id: str,
    seed: bytes,
    *,
    created_s: int,
    expires_s: int,
    request_signature: str | None = None,
) -> str:
    """The `Authorization` value for `body`. `request_signature` adds the fourth line (BECKN 2.4)."""
    for name in (subscriber_id, key_id):
        if not name or any(char in name for char in '|"\\\r\n'):
            raise KeyProblem("a subscriber id or key id is empty or has a character the header cannot carry")
    text = signing_string(body, created_s, expires_s, request_signature)
    signature = base64.b64encode(_signing_key(seed).sign(text).signature).decode()
    headers = SIGNED_HEADERS if request_signature is None else (*SIGNED_HEADERS, REQUEST_SIGNATURE)
    return (
        f'Signature keyId="{subscriber_id}|{key_id}|{ALGORITHM}",algorithm="{ALGORITHM}",'
        f'created="{created_s}",expires="{expires_s}",headers="{" ".join(headers)}",signature="{signature}"'
    )


# --- verifying ----------------------------------------------------------------------------------------------


def parse_authorization(header: str | None) -> Authorization:
    """Read a signature header (BECKN 2.2). Raises SignatureProblem MISSING, MALFORMED or UNSUPPORTED."""
    if header is None or not header.strip():
        raise SignatureProblem(ProblemKind.MISSING, "the message carries no signature")
    if len(header) > MAX_HEADER_CHARS:
        raise _malformed(f"it is longer than {MAX_HEADER_CHARS} characters")
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "signature":
        raise _malformed("its scheme is not Signature")
    members = _Members(rest).read()
    subscriber_id, key_id = _read_key_id(members)
    # Signers exist that leave this out; the keyId already names the algorithm.
    if members.get("algorithm", ALGORITHM).lower() != ALGORITHM:
        raise SignatureProblem(ProblemKind.UNSUPPORTED, "only algorithm ed25519 is supported")
    return Authorization(
        subscriber_id=subscriber_id,
        key_id=key_id,
        created_s=_read_seconds(members, "created"),
        expires_s=_read_seconds(members, "expires"),
        headers=_read_headers(members),
        signature=_read_signature(members),
    )


def verify(
    authorization: Authorization,
    body: bytes,
    public_key: bytes,
    now_s: int,
    *,
    created_skew_s: int = CREATED_SKEW_S,
    expires_skew_s: int = EXPIRES_SKEW_S,
    request_signature: str | None = None,
) -> Signer:
    """Who signed `body`, or SignatureProblem. `public_key` is the 32 bytes the registry has for that key id.

    `request_signature` is the stored signature of our own request; needed only when the peer signed it too.
    """
    if authorization.expires_s < authorization.created_s:
        raise SignatureProblem(ProblemKind.MALFORMED, "the signature expires before it was created")
    if authorization.created_s > now_s + created_skew_s:
        raise SignatureProblem(ProblemKind.NOT_YET_VALID, "the signature is from the future; check both clocks")
    if now_s > authorization.expires_s + expires_skew_s:
        raise SignatureProblem(ProblemKind.EXPIRED, "the signature has expired")
    fourth = None
    if REQUEST_SIGNATURE in authorization.headers:
        if request_signature is None:
            raise SignatureProblem(ProblemKind.MISMATCH, "the signature covers a request unknown here")
        fourth = request_signature
    text = signing_string(body, authorization.created_s, authorization.expires_s, fourth)
    try:
        _verify_key(public_key).verify(text, authorization.signature)
    except BadSignatureError:
        raise SignatureProblem(ProblemKind.MISMATCH, "the signature does not fit the body and the key") from None
    return Signer(authorization.subscriber_id, authorization.key_id)


def challenge(subscriber_id: str) -> str:
    """The value of WWW-Authenticate and Proxy-Authenticate in a 401 (BECKN 2.3)."""
    realm = subscriber_id.replace("\\", "\\\\").replace('"', '\\"')
    return f'Signature realm="{realm}",headers="{" ".join(SIGNED_HEADERS)}"'


def www_authenticate(subscriber_id: str) -> tuple[str, str]:
    """The header of a 401 when the sender's own signature failed."""
    return "WWW-Authenticate", challenge(subscriber_id)


def proxy_authenticate(subscriber_id: str) -> tuple[str, str]:
    """The header of a 401 when a gateway's signature failed."""
    return "Proxy-Authenticate", challenge(subscriber_id)


# --- keys ---------------------------------------------------------------------------------------------------


def load_seed(text: str) -> bytes:
    """A configured private key -> 32-byte seed. Takes base64 of the seed, or of seed and public key."""
    raw = _base64(text, "the signing key")
    if len(raw) == SEED_BYTES:
        return raw
    if len(raw) == 2 * SEED_BYTES:
        seed, public = raw[:SEED_BYTES], raw[SEED_BYTES:]
        if public_of(seed) != public:
            raise KeyProblem("the two halves of the 64-byte signing key do not belong together")
        return seed
    raise KeyProblem(f"the signing key is {len(raw)} bytes; it must be 32 (seed) or 64 (seed and public key)")


def load_public_key(text: str) -> bytes:
    """A published public key -> 32 raw bytes. Takes base64 of the raw key or of its SPKI form."""
    raw = _base64(text, "the public key")
    if raw.startswith(SPKI_PREFIX):
        raw = raw[len(SPKI_PREFIX) :]
    if len(raw) != SEED_BYTES:
        raise KeyProblem(f"the public key is {len(raw)} bytes; an Ed25519 key has 32")
    return raw


def public_of(seed: bytes) -> bytes:
    """The 32-byte public key that belongs to `seed`."""
    return bytes(_signing_key(seed).verify_key)


@lru_cache(maxsize=8)
def _signing_key(seed: bytes) -> SigningKey:
    return SigningKey(seed)


@lru_cache(maxsize=4096)
def _verify_key(public_key: bytes) -> VerifyKey:
    return VerifyKey(public_key)


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise KeyProblem(f"{what} is not base64") from None


# --- the header's members -----------------------------------------------------------------------------------


def _malformed(what: str) -> SignatureProblem:
    return SignatureProblem(ProblemKind.MALFORMED, f"the signature header is malformed: {what}")


def _read_key_id(members: dict[str, str]) -> tuple[str, str]:
    parts = members.get("keyid", "").split("|")
    if len(parts) != 3 or not all(parts):
        raise _malformed("keyId is not subscriber_id|unique_key_id|ed25519")
    if not all(part.isprintable() for part in parts):
        raise _malformed("keyId has a character that is none")  # bytes beyond UTF-8: no registry can be asked for it
    if parts[2].lower() != ALGORITHM:
        raise SignatureProblem(ProblemKind.UNSUPPORTED, "keyId names an algorithm other than ed25519")
    return parts[0], parts[1]


def _read_seconds(members: dict[str, str], name: str) -> int:
    text = members.get(name, "")
    # Eleven digits reach the year 5138; anything longer is milliseconds or nonsense.
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise _malformed(f"{name} is not a time in Unix seconds")
    return int(text)


def _read_headers(members: dict[str, str]) -> tuple[str, ...]:
    listed = tuple(members.get("headers", " ".join(SIGNED_HEADERS)).lower().split())
    if listed not in (SIGNED_HEADERS, (*SIGNED_HEADERS, REQUEST_SIGNATURE)):
        raise SignatureProblem(ProblemKind.UNSUPPORTED, "the signature must cover (created) (expires) digest")
    return listed


def _read_signature(members: dict[str, str]) -> bytes:
    try:
        raw = base64.b64decode(members.get("signature", ""), validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("signature is not base64") from None
    if len(raw) != SIGNATURE_BYTES:
        raise _malformed("signature is not 64 bytes")
    return raw


class _Members:
    """`name="value"` pairs separated by commas. A value may contain commas, `=` and escaped quotes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> dict[str, str]:
        members: dict[str, str] = {}
        self._skip_spaces()
        while self._at < len(self._text):
            name = self._token("=").lower()
            if not name or name in members:
                raise _malformed("a member has no name or is given twice")
            self._at += 1  # the "="
            self._skip_spaces()
            members[name] = self._quoted() if self._peek() == '"' else self._token(",")
            self._skip_spaces()
            if self._at < len(self._text):
                if self._peek() != ",":
                    raise _malformed("members are not separated by commas")
                self._at += 1
                self._skip_spaces()
        return members

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_spaces(self) -> None:
        while self._peek() in (" ", "\t") and self._at < len(self._text):
            self._at += 1

    def _token(self, end: str) -> str:
        """Up to `end` (exclusive) or, for a value, the end of the text."""
        stop = self._text.find(end, self._at)
        if stop < 0:
            if end == "=":
                raise _malformed("a member has no value")
            stop = len(self._text)
        token = self._text[self._at : stop].strip(" \t")
        if '"' in token:
            raise _malformed("a quote stands in an unquoted place")
        self._at = stop
        return token

    def _quoted(self) -> str:
        self._at += 1
        out: list[str] = []
        while True:
            char = self._peek()
            self._at += 1
            if char == "":
                raise _malformed("a quoted value does not end")
            if char == '"':
                return "".join(out)
            if char == "\\":
                char = self._peek()
                self._at += 1
            out.append(char)
