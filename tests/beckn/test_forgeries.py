"""Forged messages over a real socket, in both generations: status, challenge header and code (BECKN 2.2, 2.3)."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from beckn_shop import BAP_ID, Answer, Json, Shop, identity, open_shop
from nacl.signing import SigningKey
from running import BPP_ID

from simulators import bodies
from simulators.clock import wall_ms, written
from simulators.signing import Identity, digest, registry_entry, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = identity("other.example", "other-1")
GATEWAY = identity("gateway.example", "gw-1")
SELLER = identity("seller.example", "bpp-9")
REVOKED = identity("revoked.example", "old-1")
OUTDATED = identity("outdated.example", "old-2")
STRANGER = identity("stranger.example")
CHALLENGE = f'Signature realm="{BPP_ID}",headers="(created) (expires) digest"'
OWN, PROXY = "WWW-Authenticate", "Proxy-Authenticate"
Headers = list[tuple[str, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("forgeries"), known=(OTHER,)) as shop:
        uri, hour = shop.bap.uri, 3_600_000
        shop.server.join(
            registry_entry(GATEWAY, uri, "BG"),
            registry_entry(SELLER, uri, "BPP"),
            registry_entry(REVOKED, uri, "BAP") | {"status": "UNSUBSCRIBED"},
            registry_entry(OUTDATED, uri, "BAP") | {"valid_until": written(wall_ms() - hour)},
        )
        yield shop


class Case(NamedTuple):
    """A request as its sender means it: who is said to buy, the bytes, and a good signature to spoil."""

    me: Identity
    raw: bytes
    now: int

    def signed(self, by: Identity | None = None, raw: bytes | None = None, **times: int) -> str:
        created = times.get("created", self.now - 2)
        return sign(by or self.me, self.raw if raw is None else raw, created, times.get("expires", created + 300))

    def own(self, value: str) -> Headers:
        return [("Authorization", value)]

    def over(self, text: str, headers: str) -> Headers:
        """A valid signature over `text`, announced as covering `headers`."""
        signature = base64.b64encode(SigningKey(self.me.seed).sign(text.encode()).signature).decode()
        return self.own(
            f'Signature keyId="{self.me.subscriber_id}|{self.me.key_id}|ed25519",algorithm="ed25519",'
            f'created="{self.now - 2}",expires="{self.now + 298}",headers="{headers}",signature="{signature}"'
        )


def with_key_id(case: Case, key_id: str) -> Headers:
    me = f"{case.me.subscriber_id}|{case.me.key_id}|ed25519"
    return case.own(case.signed().replace(me, key_id))


def gateway(case: Case, value: str, name: str = "X-Gateway-Authorization") -> Headers:
    return [*case.own(case.signed()), (name, value)]


def with_expiry(case: Case, moved_s: int) -> str:
    """A captured header whose expiry was pushed on by hand."""
    old = case.now - 400
    return case.signed(created=old, expires=old + 300).replace(f'expires="{old + 300}"', f'expires="{old + moved_s}"')


SHORT = "(created): {0}\ndigest: BLAKE-512={2}"
TURNED = "digest: BLAKE-512={2}\n(created): {0}\n(expires): {1}"
# name -> (headers of the forged request, where the challenge stands, whether a signature is missing altogether)
FORGERIES: dict[str, tuple[Callable[[Case], Headers], str, bool]] = {
    "no signature": (lambda c: [], OWN, True),
    "an empty header": (lambda c: c.own(" "), OWN, True),
    "another scheme": (lambda c: c.own("Bearer abc"), OWN, False),
    "signed over another body": (lambda c: c.own(c.signed(raw=c.raw.replace(b"search", b"select") + b" ")), OWN, False),
    "signed over one byte less": (lambda c: c.own(c.signed(raw=c.raw[:-1])), OWN, False),
    "another key under my key id": (
        lambda c: c.own(c.signed(identity(c.me.subscriber_id, c.me.key_id))), OWN, False),
    "expired": (lambda c: c.own(c.signed(created=c.now - 400, expires=c.now - 100)), OWN, False),
    "replayed after expiry, the expiry edited": (lambda c: c.own(with_expiry(c, 900)), OWN, False),
    "from the future": (lambda c: c.own(c.signed(created=c.now + 60, expires=c.now + 360)), OWN, False),
    "created after it expires": (lambda c: c.own(c.signed(created=c.now, expires=c.now - 1)), OWN, False),
    "created in milliseconds": (
        lambda c: c.own(c.signed().replace(f'"{c.now - 2}"', f'"{c.now * 1000}"')), OWN, False),
    "no expiry": (lambda c: c.own(c.signed().replace(f'expires="{c.now + 298}",', "")), OWN, False),
    "a foreign bap_id": (lambda c: c.own(c.signed(OTHER)), OWN, False),
    "an unknown subscriber": (lambda c: c.own(c.signed(STRANGER)), OWN, False),
    "an unknown key id": (
        lambda c: c.own(c.signed(Identity(c.me.subscriber_id, "no-such-key", c.me.seed))), OWN, False),
    "my name with another's key": (
        lambda c: c.own(c.signed(Identity(c.me.subscriber_id, OTHER.key_id, OTHER.seed))), OWN, False),
    "another's name with my key": (
        lambda c: c.own(c.signed(Identity(OTHER.subscriber_id, OTHER.key_id, c.me.seed))), OWN, False),
    "a key id of two parts": (lambda c: with_key_id(c, f"{BAP_ID}|bap-1"), OWN, False),
    "a key id of four parts": (lambda c: with_key_id(c, f"{BAP_ID}|bap-1|ed25519|x"), OWN, False),
    "a key id with an empty part": (lambda c: with_key_id(c, f"{BAP_ID}||ed25519"), OWN, False),
    "another algorithm": (lambda c: c.own(c.signed().replace('algorithm="ed25519"', 'algorithm="rsa"')), OWN, False),
    "another algorithm in the key id": (lambda c: with_key_id(c, f"{BAP_ID}|bap-1|x25519"), OWN, False),
    "fewer headers signed": (
        lambda c: c.over(SHORT.format(c.now - 2, c.now + 298, digest(c.raw)), "(created) digest"), OWN, False),
    "headers in another order": (
        lambda c: c.over(TURNED.format(c.now - 2, c.now + 298, digest(c.raw)), "digest (created) (expires)"),
        OWN, False),
    "a request signature nobody knows": (
        lambda c: c.own(c.signed().replace('digest",', 'digest request-signature",')), OWN, False),
    "a parameter given twice": (lambda c: c.own(c.signed() + f',expires="{c.now + 9999}"'), OWN, False),
    "a signature that is no base64": (
        lambda c: c.own(c.signed().rpartition("signature=")[0] + 'signature="§§§§"'), OWN, False),
    "a signature of 63 bytes": (
        lambda c: c.own(c.signed().rpartition("signature=")[0]
                        + f'signature="{base64.b64encode(bytes(63)).decode()}"'), OWN, False),
    "a header without end": (lambda c: c.own(c.signed()[:-1]), OWN, False),
    "a header of ten thousand characters": (lambda c: c.own(c.signed() + f',x="{"y" * 7000}"'), OWN, False),
    "two signatures of one sender": (lambda c: c.own(c.signed()) + c.own(c.signed(OTHER)), OWN, False),
    "a gateway signing over another body": (
        lambda c: gateway(c, c.signed(GATEWAY, raw=c.raw + b" ")), PROXY, False),
    "the same in the other gateway header": (
        lambda c: gateway(c, c.signed(GATEWAY, raw=c.raw + b" "), "Proxy-Authorization"), PROXY, False),
    "a gateway signature that expired": (
        lambda c: gateway(c, c.signed(GATEWAY, created=c.now - 400, expires=c.now - 100)), PROXY, False),
    "a gateway nobody knows": (lambda c: gateway(c, c.signed(STRANGER)), PROXY, False),
    "a buyer app as gateway": (lambda c: gateway(c, c.signed(OTHER)), PROXY, False),
    "a gateway header cut to nothing": (lambda c: gateway(c, ""), PROXY, True),
    "a gateway header of noise": (lambda c: gateway(c, "Signature ,,,=\""), PROXY, False),
    "two gateways": (
        lambda c: [*gateway(c, c.signed(GATEWAY)), ("Proxy-Authorization", c.signed(OTHER))], PROXY, False),
    "forwarded, the gateway's own header stripped": (lambda c: c.own(c.signed(GATEWAY)), PROXY, False),
    "forwarded, the gateway's only signature spoilt": (
        lambda c: c.own(c.signed(GATEWAY, raw=c.raw + b" ")), PROXY, False),
    "forwarded, the buyer's signature stripped": (
        lambda c: [("X-Gateway-Authorization", c.signed(GATEWAY))], OWN, True),
    "forwarded, the buyer's signature spoilt": (
        lambda c: [("X-Gateway-Authorization", c.signed(GATEWAY)), *c.own(c.signed(raw=c.raw + b" "))], OWN, False),
}  # fmt: skip
# These sign in their own name: the entry itself is what must not be believed.
BAD_ENTRIES = {"a revoked entry": REVOKED, "an entry past its validity": OUTDATED, "a seller as buyer": SELLER}


def request_of(shop: Shop, generation: str, me: Identity) -> Json:
    action = "discover" if generation == "v2" else "search"
    message: Any = bodies.discover() if generation == "v2" else {"intent": {}}
    context = {"bap_id": me.subscriber_id}
    if generation == "v1":
        context |= {"version": "1.1.0", "domain": "deg:ev-charging"}
    request = shop.message(action, message, **context)
    request["context"].pop("bpp_id", None)
    return request


async def send(shop: Shop, raw: bytes, headers: Headers) -> Answer:
    action = json.loads(raw)["context"]["action"]
    everything = [("Content-Type", "application/json"), *headers]
    url = f"{shop.server.receiver}/{action}"
    async with shop.http.post(url, data=io.BytesIO(raw), headers=everything) as response:
        return Answer(response.status, dict(response.headers), await response.text())


def assert_refused(answer: Answer, generation: str, header: str, *, is_missing: bool) -> None:
    other = OWN if header == PROXY else PROXY
    assert answer.status == 401, answer.text
    assert answer.headers[header] == CHALLENGE
    assert other not in answer.headers
    answer.assert_silent()
    if generation == "v2":
        assert answer.code == ("AUT_SIGNATURE_MISSING" if is_missing else "AUT_SIGNATURE_INVALID")
        return
    assert answer.body["message"] == {"ack": {"status": "NACK"}}
    error = answer.body["error"]
    assert error["code"] == "Unauthorized"
    assert " " in error["message"]


@pytest.mark.parametrize("generation", ["v1", "v2"])
@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_is_refused_with_the_right_header_and_code(shop: Shop, name: str, generation: str) -> None:
    make, header, is_missing = FORGERIES[name]
    raw = json.dumps(request_of(shop, generation, shop.bap.identity)).encode()
    answer = await send(shop, raw, make(Case(shop.bap.identity, raw, int(time.time()))))
    assert_refused(answer, generation, header, is_missing=is_missing)


@pytest.mark.parametrize("generation", ["v1", "v2"])
@pytest.mark.parametrize("name", BAD_ENTRIES)
async def test_who_may_not_buy_is_refused_though_the_signature_is_good(shop: Shop, name: str, generation: str) -> None:
    me = BAD_ENTRIES[name]
    raw = json.dumps(request_of(shop, generation, me)).encode()
    case = Case(me, raw, int(time.time()))
    assert_refused(await send(shop, raw, case.own(case.signed())), generation, OWN, is_missing=False)


GOOD: dict[str, Callable[[Case], Headers]] = {
    "as it should be": lambda c: c.own(c.signed()),
    "with spaces after the commas": lambda c: c.own(c.signed().replace('",', '", ')),
    "with the scheme in other letters": lambda c: c.own(c.signed().replace("Signature", "SIGNATURE", 1)),
    "without naming the algorithm twice": lambda c: c.own(c.signed().replace('algorithm="ed25519",', "")),
    "a few seconds ahead": lambda c: c.own(c.signed(created=c.now + 6, expires=c.now + 306)),
    "through a gateway": lambda c: gateway(c, c.signed(GATEWAY)),
    "through a gateway, by the other name": lambda c: gateway(c, c.signed(GATEWAY), "proxy-authorization"),
}


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_properly_signed_is_taken(shop: Shop, name: str) -> None:
    raw = json.dumps(request_of(shop, "v2", shop.bap.identity)).encode()
    answer = await send(shop, raw, GOOD[name](Case(shop.bap.identity, raw, int(time.time()))))
    assert answer.is_ack, answer.text


async def test_what_was_captured_is_worth_nothing_under_another_transaction(shop: Shop) -> None:
    raw = json.dumps(request_of(shop, "v2", shop.bap.identity)).encode()
    headers = Case(shop.bap.identity, raw, int(time.time()))
    header = headers.own(headers.signed())
    assert (await send(shop, raw, header)).is_ack
    transaction_id = json.loads(raw)["context"]["transaction_id"]
    moved = raw.replace(transaction_id.encode(), str(uuid.uuid4()).encode())
    assert_refused(await send(shop, moved, header), "v2", OWN, is_missing=False)


async def test_nothing_forged_was_ever_worked_on(shop: Shop) -> None:
    forged = [c for c in shop.bap.received if c.context.get("bap_id") != BAP_ID]
    assert forged == []
