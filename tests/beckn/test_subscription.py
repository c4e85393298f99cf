"""Joining through a classic registry: the challenge of BECKN 3.1, by decrypting and by signing."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey

from beckn_adapter import signing
from beckn_adapter.signing import KeyProblem
from beckn_adapter.subscription import (
    ChallengeProblem,
    decrypt_challenge,
    encryption_public_of,
    entry,
    load_encryption_key,
    load_encryption_public_key,
    sign_challenge,
)

# The vector of BECKN 3.1.
OURS = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OUR_PUBLIC = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="
REGISTRY = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
REGISTRY_PUBLIC = "NYBy1jZYgNGu6jKa35EhODhR7SGijjt16WXQ0s0WYlQ="
CHALLENGE = "B/9JaZIW+w9twryzfgPe8OFmzifHGnq1x7v2t/iVFFY="
SEED = bytes(range(32))


def sealed(text: str) -> str:
    """What the registry would send for `text`, made from its own side."""
    registry = X25519PrivateKey.from_private_bytes(base64.b64decode(REGISTRY))
    shared = registry.exchange(X25519PrivateKey.from_private_bytes(base64.b64decode(OURS)).public_key())
    padder = padding.PKCS7(128).padder()
    cipher = Cipher(algorithms.AES256(shared), modes.ECB()).encryptor()
    padded = padder.update(text.encode()) + padder.finalize()
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode()


def opened(challenge: str) -> str:
    return decrypt_challenge(challenge, load_encryption_key(OURS), load_encryption_public_key(REGISTRY_PUBLIC))


def test_the_challenge_of_the_contract_is_answered() -> None:
    assert opened(CHALLENGE) == "challenge-1234567890"
    assert base64.b64encode(encryption_public_of(load_encryption_key(OURS))).decode() == OUR_PUBLIC
    assert base64.b64encode(encryption_public_of(load_encryption_key(REGISTRY))).decode() == REGISTRY_PUBLIC


@given(st.text(max_size=200))
def test_whatever_the_registry_seals_is_opened(text: str) -> None:
    if "\ud800" <= max(text, default="") <= "\udfff":
        return
    assert opened(sealed(text)) == text


@pytest.mark.parametrize(
    "challenge", ["", "not base64!", "AAAA", base64.b64encode(bytes(32)).decode(), base64.b64encode(b"x" * 33).decode()]
)
def test_what_was_not_sealed_for_us_is_not_answered(challenge: str) -> None:
    with pytest.raises(ChallengeProblem):
        opened(challenge)


def test_keys_are_read_raw_and_in_their_wrapped_forms() -> None:
    raw = load_encryption_key(OURS)
    wrapped = base64.b64encode(bytes.fromhex("302e020100300506032b656e04220420") + raw).decode()
    assert load_encryption_key(wrapped) == raw
    spki = base64.b64encode(bytes.fromhex("302a300506032b656e032100") + base64.b64decode(OUR_PUBLIC)).decode()
    assert load_encryption_public_key(spki) == base64.b64decode(OUR_PUBLIC)
    for bad in ("", "AAAA", "%%", base64.b64encode(bytes(31)).decode()):
        with pytest.raises(KeyProblem):
            load_encryption_key(bad)


def test_a_signed_challenge_carries_signature_and_text() -> None:
    answer = base64.b64decode(sign_challenge("nonce-0123456789", SEED))
    assert VerifyKey(signing.public_of(SEED)).verify(answer) == b"nonce-0123456789"


@pytest.mark.parametrize(
    "challenge",
    [signing.signing_string(b"{}", 1, 2).decode(), "(created): 1", "a b c d e f g h", "short", "x" * 513,
     "line\nline-2"],
)  # fmt: skip
def test_nothing_that_could_be_a_message_of_ours_is_signed(challenge: str) -> None:
    with pytest.raises(ChallengeProblem):
        sign_challenge(challenge, SEED)


def test_our_entry_has_what_registries_ask_for() -> None:
    body = entry(
        subscriber_id="bpp.example", url="https://bpp.example/beckn/bpp/receiver", domain="d", key_id="k2",
        signing_public_key=bytes(SigningKey(SEED).verify_key), encryption_public_key=base64.b64decode(OUR_PUBLIC),
        valid_from_ms=0, valid_until_ms=86_400_000, nonce="n",
    )  # fmt: skip
    assert body["type"] == "BPP"
    assert body["encr_public_key"] == OUR_PUBLIC
    assert (body["valid_from"], body["valid_until"]) == ("1970-01-01T00:00:00.000Z", "1970-01-02T00:00:00.000Z")
    assert "location" not in body
