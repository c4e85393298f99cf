"""Signing and verification: the published vectors, tampering, and headers as they come in the wild."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beckn_adapter.signing import (
    SPKI_PREFIX,
    Authorization,
    KeyProblem,
    ProblemKind,
    SignatureProblem,
    Signer,
    challenge,
    digest,
    load_public_key,
    load_seed,
    parse_authorization,
    proxy_authenticate,
    public_of,
    sign,
    signing_string,
    validity,
    verify,
    www_authenticate,
)

SEED_B64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PUBLIC_B64 = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
BOTH_B64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA=="
BODY = (
    '{"context":{"version":"2.0.0","action":"on_status","domain":"beckn.one:deg:ev-charging:*",'
    '"bap_id":"bap.example.com","bap_uri":"https://bap.example.com/bap/receiver","bpp_id":"bpp.example.com",'
    '"bpp_uri":"https://bpp.example.com/bpp/receiver","transaction_id":"2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002",'
    '"message_id":"6ace310b-6440-4421-a2ed-b484c7548bd5","timestamp":"2026-01-02T03:04:05.000Z","ttl":"PT30S"},'
    '"message":{"note":"45 INR/kWh × 2.5 kWh"}}'
).encode()
CREATED, EXPIRES = 1767323045, 1767323345
DIGEST = "pdlclfKo9Ki+FVfdirUsHJTOTkJwpLy3vTfwNp1dSid7vXTXO6ZyHax/4KQCKnO2E85jcQw9UqHW5eyCUMDSmA=="
SIGNATURE = "HHVABh7XhN6MksSBH+VL7vhv+g3ClEQ5gKhmBfPhiZJyg1xBi5lMHrd1GMMQ+s/JwBB6Yp9sJ5y05UgbKDdIBQ=="
FOUR_LINES = "rxilKl7ywmn2/JSoep2QtsLL/enZEENcsrWlZQ8U56dpdczm9BriPL4FGyz8BWojrsq6VDbN8qiWozntSSMaBA=="
HEADER = (
    'Signature keyId="bpp.example.com|key-1|ed25519",algorithm="ed25519",created="1767323045",'
    f'expires="1767323345",headers="(created) (expires) digest",signature="{SIGNATURE}"'
)
SEED = load_seed(SEED_B64)
PUBLIC = load_public_key(PUBLIC_B64)


def kind_of(header: str | None) -> ProblemKind:
    with pytest.raises(SignatureProblem) as caught:
        parse_authorization(header)
    return caught.value.kind


def refused(header: str = HEADER, body: bytes = BODY, key: bytes = PUBLIC, now_s: int = CREATED) -> ProblemKind:
    with pytest.raises(SignatureProblem) as caught:
        verify(parse_authorization(header), body, key, now_s)
    return caught.value.kind


def test_the_published_vector_is_reproduced_byte_for_byte() -> None:
    assert len(BODY) == 447
    assert digest(BODY) == DIGEST
    assert sign(BODY, "bpp.example.com", "key-1", SEED, created_s=CREATED, expires_s=EXPIRES) == HEADER


def test_the_published_vector_verifies() -> None:
    assert verify(parse_authorization(HEADER), BODY, PUBLIC, CREATED) == Signer("bpp.example.com", "key-1")


def test_the_digest_is_blake2b_512() -> None:
    expected = "qK3Uvd39k+SHfSdG5igXsRY2Sh+nvBSNlQkLxzM7NnP4JAHPeqLkyx7NkCluPxTLVBP47Xe+cwRbE5FM3NapGA=="
    assert digest(b"The quick brown fox jumps over the lazy dog") == expected


def test_the_signing_string_has_three_lines_and_no_newline_at_the_end() -> None:
    text = signing_string(b"", 1, 2).decode()
    assert text.split("\n")[:2] == ["(created): 1", "(expires): 2"]
    assert text.count("\n") == 2


def test_the_four_line_vector_is_reproduced_and_verifies() -> None:
    header = sign(
        BODY,
        "bpp.example.com",
        "key-1",
        SEED,
        created_s=CREATED,
        expires_s=EXPIRES,
        request_signature=SIGNATURE,
    )
    authorization = parse_authorization(header)
    assert authorization.signature_text == FOUR_LINES
    assert authorization.headers[-1] == "request-signature"
    assert verify(authorization, BODY, PUBLIC, CREATED, request_signature=SIGNATURE).key_id == "key-1"
    with pytest.raises(SignatureProblem):
        verify(authorization, BODY, PUBLIC, CREATED)
    with pytest.raises(SignatureProblem):
        verify(authorization, BODY, PUBLIC, CREATED, request_signature=FOUR_LINES)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (HEADER, BODY.replace("×".encode(), b"\\u00d7")),
        (HEADER, BODY + b"\n"),
        (HEADER, BODY.replace(b"2.5", b"2.6")),
        (HEADER.replace("1767323045", "1767323046"), BODY),
        (HEADER.replace("1767323345", "1767323346"), BODY),
        (HEADER.replace(SIGNATURE, FOUR_LINES), BODY),
    ],
)
def test_any_tampering_is_a_mismatch(header: str, body: bytes) -> None:
    assert refused(header, body) is ProblemKind.MISMATCH


def test_another_key_is_a_mismatch() -> None:
    assert refused(key=public_of(bytes(32))) is ProblemKind.MISMATCH


@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(at: int, bit: int) -> None:
    body = bytearray(BODY)
    body[at] ^= 1 << bit
    assert refused(body=bytes(body)) is ProblemKind.MISMATCH


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        (CREATED - 10, None),
        (CREATED - 11, ProblemKind.NOT_YET_VALID),
        (EXPIRES + 5, None),
        (EXPIRES + 6, ProblemKind.EXPIRED),
    ],
)
def test_the_clocks_may_differ_by_ten_and_five_seconds(now_s: int, expected: ProblemKind | None) -> None:
    if expected is None:
        assert verify(parse_authorization(HEADER), BODY, PUBLIC, now_s).subscriber_id == "bpp.example.com"
    else:
        assert refused(now_s=now_s) is expected


def test_what_we_sign_now_is_valid_for_a_peer_two_seconds_behind_without_tolerance() -> None:
    created, expires = validity(CREATED)
    header = sign(BODY, "a", "k", SEED, created_s=created, expires_s=expires)
    peer_now = CREATED - 2
    verify(parse_authorization(header), BODY, PUBLIC, peer_now, created_skew_s=0, expires_skew_s=0)
    assert expires - created == 300


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace(",", ", "),
        HEADER.replace(",", " ,\t"),
        HEADER.replace("Signature ", "signature   "),
        HEADER.replace('algorithm="ed25519",', ""),
        HEADER.replace('headers="(created) (expires) digest",', ""),
        HEADER.replace('created="1767323045"', "created=1767323045"),
        HEADER.replace("keyId", "keyid"),
        HEADER + ",",
        HEADER.replace('algorithm="ed25519"', 'note="a, \\"b\\" = c",algorithm="ed25519"'),
    ],
)
def test_headers_as_peers_write_them_are_read(header: str) -> None:
    assert verify(parse_authorization(header), BODY, PUBLIC, CREATED).subscriber_id == "bpp.example.com"


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, ProblemKind.MISSING),
        ("  ", ProblemKind.MISSING),
        ("Bearer abc", ProblemKind.MALFORMED),
        ("Signature", ProblemKind.MALFORMED),
        ('Signature keyId="a|b|ed25519', ProblemKind.MALFORMED),
        ("Signature keyId", ProblemKind.MALFORMED),
        (HEADER.replace("|key-1|", "|"), ProblemKind.MALFORMED),
        (HEADER.replace("bpp.example.com|", "|"), ProblemKind.MALFORMED),
        (HEADER.replace("|ed25519", "|key|ed25519"), ProblemKind.MALFORMED),
        (HEADER.replace("|ed25519", "|rsa"), ProblemKind.UNSUPPORTED),
        (HEADER.replace('algorithm="ed25519"', 'algorithm="hmac"'), ProblemKind.UNSUPPORTED),
        (HEADER.replace("(created) (expires) digest", "digest"), ProblemKind.UNSUPPORTED),
        (HEADER.replace("1767323045", "now"), ProblemKind.MALFORMED),
        (HEADER.replace("1767323045", "1767323045000"), ProblemKind.MALFORMED),
        (HEADER.replace('created="1767323045",', ""), ProblemKind.MALFORMED),
        (HEADER.replace(SIGNATURE, "short"), ProblemKind.MALFORMED),
        (HEADER.replace(SIGNATURE, "c2hvcnQ="), ProblemKind.MALFORMED),
        (HEADER + ',created="1"', ProblemKind.MALFORMED),
        ("Signature " + "a" * 5000, ProblemKind.MALFORMED),
    ],
)
def test_a_header_that_cannot_be_meant_is_named(header: str | None, kind: ProblemKind) -> None:
    assert kind_of(header) is kind


@given(st.text(max_size=300))
def test_no_header_breaks_the_parser(text: str) -> None:
    for header in (text, "Signature " + text):
        with contextlib.suppress(SignatureProblem):
            assert isinstance(parse_authorization(header), Authorization)


def test_a_signature_that_expires_before_it_begins_is_malformed() -> None:
    header = sign(BODY, "a", "k", SEED, created_s=EXPIRES, expires_s=CREATED)
    assert refused(header) is ProblemKind.MALFORMED


@pytest.mark.parametrize("name", ["", "a|b", 'a"b', "a\nb"])
def test_an_id_the_header_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(KeyProblem):
        sign(BODY, name, "k", SEED, created_s=1, expires_s=2)


def test_a_seed_is_read_in_both_forms() -> None:
    assert load_seed(SEED_B64) == load_seed(BOTH_B64 + "\n") == bytes(range(32))
    assert public_of(SEED) == PUBLIC


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", base64.b64encode(bytes(64)).decode()])
def test_a_seed_that_is_none_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyProblem) as caught:
        load_seed(text)
    assert not text or text not in str(caught.value)


def test_a_public_key_is_read_raw_and_as_spki() -> None:
    spki = base64.b64encode(SPKI_PREFIX + PUBLIC).decode()
    assert len(SPKI_PREFIX + PUBLIC) == 44
    assert load_public_key(spki) == load_public_key(PUBLIC_B64) == PUBLIC
    with pytest.raises(KeyProblem):
        load_public_key("AAAA")


def test_the_challenges_name_our_realm() -> None:
    value = 'Signature realm="bpp.example.com",headers="(created) (expires) digest"'
    assert www_authenticate("bpp.example.com") == ("WWW-Authenticate", value)
    assert proxy_authenticate("bpp.example.com") == ("Proxy-Authenticate", value)
    assert challenge('a"b').startswith('Signature realm="a\\"b"')
