"""The simulated buyer: signatures by the published vectors, plumbing and judgement against a stand-in seller."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import bodies, scenario
from simulators.bap import Bap, NackedError, NoCallbackError, RefusedError
from simulators.beckn_schema import Schemas
from simulators.buyer import Buyer
from simulators.judge import Result
from simulators.ledger import LedgerError, total_of
from simulators.pricing import Bill, Quote
from simulators.signing import (
    Identity,
    SignatureError,
    digest,
    parse,
    read_registry,
    registry_entry,
    sign,
    signer,
    verify,
    write_registry,
)
from tests.simulators.central import Central
from tests.simulators.seller import Seller

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "beckn" / "v2"

# BECKN 2.5, vector 1
SEED = bytes(range(32))
CREATED, EXPIRES = 1767323045, 1767323345
BODY = (
    '{"context":{"version":"2.0.0","action":"on_status","domain":"beckn.one:deg:ev-charging:*","bap_id":"bap.example.com",'
    '"bap_uri":"https://bap.example.com/bap/receiver","bpp_id":"bpp.example.com","bpp_uri":"https://bpp.example.com/bpp/receiver",'
    '"transaction_id":"2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002","message_id":"6ace310b-6440-4421-a2ed-b484c7548bd5",'
    '"timestamp":"2026-01-02T03:04:05.000Z","ttl":"PT30S"},"message":{"note":"45 INR/kWh × 2.5 kWh"}}'
).encode()
HEADER = (
    'Signature keyId="bpp.example.com|key-1|ed25519",algorithm="ed25519",created="1767323045",expires="1767323345",'
    'headers="(created) (expires) digest",'
    'signature="HHVABh7XhN6MksSBH+VL7vhv+g3ClEQ5gKhmBfPhiZJyg1xBi5lMHrd1GMMQ+s/JwBB6Yp9sJ5y05UgbKDdIBQ=="'
)
PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="


def test_vector_1_is_signed_byte_for_byte() -> None:
    assert len(BODY) == 447
    identity = Identity("bpp.example.com", "key-1", SEED)
    assert identity.public_key == PUBLIC
    assert digest(BODY) == "pdlclfKo9Ki+FVfdirUsHJTOTkJwpLy3vTfwNp1dSid7vXTXO6ZyHax/4KQCKnO2E85jcQw9UqHW5eyCUMDSmA=="
    assert sign(identity, BODY, CREATED) == HEADER
    verify(HEADER, BODY, PUBLIC, CREATED + 10)


def test_vector_2_is_the_digest() -> None:
    text = b"The quick brown fox jumps over the lazy dog"
    assert digest(text) == "qK3Uvd39k+SHfSdG5igXsRY2Sh+nvBSNlQkLxzM7NnP4JAHPeqLkyx7NkCluPxTLVBP47Xe+cwRbE5FM3NapGA=="
    assert base64.b64decode(digest(text)) == hashlib.blake2b(text).digest()


@pytest.mark.parametrize(
    ("header", "body", "now", "reason"),
    [
        (HEADER, BODY + b" ", CREATED, "does not fit"),
        (HEADER, BODY, EXPIRES + 11, "expired"),
        (HEADER, BODY, CREATED - 11, "future"),
        (HEADER.replace("Hz", "Ha").replace("HHVA", "IHVA"), BODY, CREATED, "does not fit"),
        (None, BODY, CREATED, "no Authorization"),
        ("Bearer x", BODY, CREATED, "not a Signature"),
        (HEADER.replace(',expires="1767323345"', ""), BODY, CREATED, "malformed"),
        (HEADER.replace("(created) (expires) digest", "digest"), BODY, CREATED, "other headers"),
        ("Signature keyId=unquoted", BODY, CREATED, "cannot be read"),
    ],
)
def test_a_bad_signature_is_refused_with_its_reason(header: str | None, body: bytes, now: int, reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        verify(header, body, PUBLIC, now)


def test_spaces_after_commas_and_any_case_of_the_scheme_are_read() -> None:
    spaced = HEADER.replace('",', '", ').replace("Signature ", "signature ")
    verify(spaced, BODY, PUBLIC, CREATED)
    assert signer(spaced) == ("bpp.example.com", "key-1")
    assert parse(spaced)["algorithm"] == "ed25519"


@given(st.binary(max_size=300), st.integers(1, 2**31))
def test_what_is_signed_verifies_and_a_changed_byte_does_not(body: bytes, created: int) -> None:
    identity = Identity("a", "b", SEED)
    header = sign(identity, body, created)
    verify(header, body, identity.public_key, created)
    with pytest.raises(SignatureError):
        verify(header, body + b"x", identity.public_key, created)


def test_the_registry_file_keeps_one_entry_per_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "registry.json"
    one, two = Identity("a", "k", SEED), Identity("b", "k", b"t" * 32)
    write_registry(path, registry_entry(one, "http://1", "BAP"), registry_entry(two, "http://2", "BPP"))
    write_registry(path, registry_entry(one, "http://3", "BAP"))
    entries = read_registry(path)
    assert [(e["subscriber_id"], e["subscriber_url"]) for e in entries] == [("a", "http://3"), ("b", "http://2")]
    assert set(entries[0]) == {"subscriber_id", "unique_key_id", "signing_public_key", "subscriber_url", "type"}


# -- prices ------------------------------------------------------------------------------------------------------

QUOTED = {
    "beckn:orderItems": [
        {"beckn:price": {"value": 18.0, "applicableQuantity": {"unitCode": "KWH", "unitQuantity": 1}}}
    ],
    "beckn:orderValue": {
        "value": 272.34,
        "components": [
            {"type": "UNIT", "value": 180.0, "description": "Base charging session cost (18 INR/kWh × 10 kWh)"},
            {"type": "SURCHARGE", "value": 36.0, "description": "Surge price (20%)"},
            {"type": "DISCOUNT", "value": -20.0, "description": "Offer: 20 INR off from 5 kWh"},
            {"type": "FEE", "value": 10.0, "description": "Service fee"},
            {"type": "TAX", "value": 37.08, "description": "GST (18%)"},
            {"type": "FEE", "value": 4.5, "description": "Buyer finder fee (2.5%)"},
            {"type": "FEE", "value": 24.76, "description": "Overcharge estimation"},
        ],
    },
}


def test_the_worked_example_is_recomputed_from_its_lines() -> None:
    quote = Quote.of(QUOTED)
    assert quote.adds_up()
    assert quote.provision == Decimal("24.76")
    assert quote.price_of(Decimal("6.4")) == Decimal("154.20")
    assert quote.price_of(Decimal(10)) == Decimal("272.34") - Decimal("24.76")
    below_threshold = quote.price_of(Decimal(4))  # (72 + 14.4 + 10) * 1.18 + 1.8
    assert below_threshold == Decimal("115.55")
    assert quote.price_of(Decimal(0)) == 0  # no service fee for nothing


def test_a_bill_reads_what_the_seller_wrote() -> None:
    bill = Bill({**QUOTED, "beckn:fulfillment": {"beckn:deliveryAttributes": {"meteredEnergyKWh": 6.4}}})
    assert bill.metered_kwh == Decimal("6.4")
    assert bill.payment_status == ""
    assert Bill({**QUOTED}).metered_kwh is None  # absent is not zero


def test_a_ledger_sums_whatever_shape_it_has() -> None:
    entries = [{"amount": {"amount": "-12.50", "currency": "INR"}}, {"amount": "10"}, {"amount_minor": 250}]
    assert total_of({"items": entries}) == total_of(entries) == 0
    empty: list[Any] = [{}, [], {"items": []}, [{"note": 1}]]
    for nothing in empty:
        with pytest.raises(LedgerError):
            total_of(nothing)


# -- schemas -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.exists(), reason="the published schemas are not beside the repository")
def test_what_the_buyer_writes_is_valid() -> None:
    schemas = Schemas(SHARED / "schema")
    bap = Bap(Identity("b.example", "k", SEED), public_uri="https://b.example/r")
    bap.uri = "https://b.example/r"
    order = json.loads((SHARED / "examples" / "ev-charging-on-select.json").read_text())["message"]["order"]
    confirmed = json.loads((SHARED / "examples" / "ev-charging-on-confirm.json").read_text())["message"]["order"]
    item = {"beckn:id": "IND*1", "beckn:provider": {"beckn:id": "cpo"}}
    asked: dict[str, Any] = {
        "item": item,
        "seller": "cpo",
        "person": bodies.Person(email="a@b.example"),
        "offer": None,
        "finder_fee_percent": 2.5,
        "slot": ("2026-01-02T10:00:00Z", "2026-01-02T10:30:00Z"),
    }
    unfulfilled = {key: value for key, value in confirmed.items() if key != "beckn:fulfillment"}
    init = {"subscriber_id": "b.example", "order_id": "o-1", "payment_id": "p-1"}
    messages = [
        ("discover", bodies.discover()),
        ("discover", bodies.discover(near=(12.9, 77.5, 1000), text="mall", expression="$[?(@.a == 1)]")),
        *(("select", bodies.select(**asked, amount=bodies.Amount(2, code))) for code in ("KWH", "INR", "MIN")),
        ("select", bodies.select(**{**asked, "slot": None, "finder_fee_percent": None}, amount=None)),
        ("init", bodies.init(order, collected_by="BAP", **init)),
        ("init", bodies.init(order, collected_by="BPP", **init)),
        ("confirm", bodies.confirm(confirmed, confirmed["beckn:payment"])),
        ("update", bodies.update(confirmed, session_status="PENDING", order_status="CONFIRMED")),
        ("update", bodies.update(unfulfilled, session_status="STOP", order_status="INPROGRESS")),
        ("status", bodies.status("o-1")),
        ("track", bodies.track("o-1")),
        ("cancel", bodies.cancel(confirmed)),
        ("rating", bodies.rating("o-1", 4, "ORDER", "fine")),
        ("support", bodies.support("o-1")),
    ]  # fmt: skip
    for action, message in messages:
        context = bap.context(action, "2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002", ("p.example", "https://p.example/r"))
        assert schemas.faults(action, {"context": context, "message": message}) == [], action


@pytest.mark.skipif(not SHARED.exists(), reason="the published schemas are not beside the repository")
def test_a_callback_that_breaks_a_closed_pack_is_found() -> None:
    schemas = Schemas(SHARED / "schema")
    body = json.loads((SHARED / "examples" / "ev-charging-on-confirm.json").read_text())
    assert schemas.faults("on_confirm", body) == []
    body["message"]["order"]["beckn:fulfillment"]["beckn:deliveryAttributes"]["connectorStatus"] = "CHARGING"
    body["message"]["order"]["beckn:totals"] = 1
    assert len(schemas.faults("on_confirm", body)) >= 2


# -- plumbing ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[tuple[Bap, Seller, Buyer]]:
    registry = tmp_path / "registry.json"
    me = Identity("bap.test", "key-1", b"b" * 32)
    async with Central() as central, Seller(registry, central) as seller, Bap(me, registry=registry) as bap:
        write_registry(registry, registry_entry(bap.identity, bap.uri, "BAP"))
        yield bap, seller, Buyer(bap, seller.uri, timeout_s=3)


async def test_an_order_from_discovery_to_cancellation(market: tuple[Bap, Seller, Buyer]) -> None:
    bap, seller, buyer = market
    items = await buyer.discover()
    assert items[0].offers[0]["beckn:id"] == "offer-1"
    assert buyer.bpp_id == "bpp.test"
    quote = await buyer.select(items[0], kwh=10)
    assert quote.value == Decimal("246.62")
    await buyer.init("BPP")
    await buyer.pay()
    assert buyer.paid == quote.value
    confirmed = await buyer.confirm()
    assert confirmed["beckn:orderStatus"] == "CONFIRMED"
    assert (await buyer.status()).order_status == "CONFIRMED"
    assert (await buyer.track())["url"].startswith("http")
    assert (await buyer.cancel()).order_status == "CANCELLED"
    assert buyer.refunded == quote.value
    assert (await buyer.rate(5))["received"] is True
    assert "phone" in await buyer.support()
    assert {request["context"]["transaction_id"] for request in seller.requests} == {buyer.transaction_id}
    assert bap.problems == []
    assert set(seller.acks) == {200}


async def test_collecting_itself_the_platform_names_the_order(market: tuple[Bap, Seller, Buyer]) -> None:
    _, seller, buyer = market
    await buyer.select((await buyer.discover())[0], amount=100)
    await buyer.init("BAP")
    assert buyer.order_id.startswith("order-")
    payment = await buyer.pay()
    assert payment["beckn:paymentStatus"] == "COMPLETED"
    await buyer.confirm()
    assert seller.requests[-1]["message"]["order"]["beckn:id"] == buyer.order_id


async def test_an_unsigned_callback_is_refused_and_noted(market: tuple[Bap, Seller, Buyer]) -> None:
    bap, seller, buyer = market
    seller.unsigned = True
    buyer.timeout_s = 0.2
    with pytest.raises(NoCallbackError, match="no Authorization header"):
        await buyer.discover()
    assert seller.acks == [401]
    assert bap.problems == ["on_discover: signature: no Authorization header"]
    assert bap.received[0].signature_fault


async def test_a_callback_in_anothers_name_is_refused(market: tuple[Bap, Seller, Buyer]) -> None:
    bap, seller, buyer = market
    seller.spoil = lambda body: body["context"].update(bpp_id="other.test")
    buyer.timeout_s = 0.2
    with pytest.raises(NoCallbackError):
        await buyer.discover()
    assert seller.acks == [401]
    assert "sent as other.test" in bap.problems[0]


async def test_a_nack_an_error_and_silence_are_told_apart(market: tuple[Bap, Seller, Buyer]) -> None:
    _, seller, buyer = market
    items = await buyer.discover()
    seller.refuse["select"] = (400, {"ack_status": "NACK", "error": {"code": "30000", "message": "no"}})
    with pytest.raises(NackedError, match="30000"):
        await buyer.select(items[0], kwh=1)
    seller.refuse["select"] = (200, {"message": {"ack": {"status": "NACK"}}})
    with pytest.raises(NackedError):
        await buyer.select(items[0], kwh=1)
    del seller.refuse["select"]
    seller.errors["select"] = {"code": "30008", "message": "connector unavailable"}
    with pytest.raises(RefusedError, match="30008"):
        await buyer.select(items[0], kwh=1)
    with pytest.raises(NoCallbackError, match=r"no fitting on_cancel within 0\.05 s; came:"):
        await buyer.wait_for("on_cancel", timeout_s=0.05)


async def test_rubbish_on_the_receiver_is_answered_400(market: tuple[Bap, Seller, Buyer]) -> None:
    bap, _, _ = market
    async with aiohttp.ClientSession() as client, client.post(f"{bap.uri}/on_select", data=b"[1") as answer:
        assert answer.status == 400
    assert "not a Beckn message" in bap.problems[0]


# -- stories -----------------------------------------------------------------------------------------------------


# A stop that comes 50 ms late costs more energy at a higher speed: within what these stories allow.
SPEED = {"walk-in-by-amount": 400.0, "walk-in-by-kwh": 400.0}


async def tell(name: str, registry: Path, **expect: Any) -> tuple[Result, Seller, Bap]:
    """Play a story of the folder at a 1.6 charger against the stand-in seller."""
    story = scenario.load(name)
    story = replace(story, charger={**story.charger, "version": "1.6"}, expect=replace(story.expect, **expect))
    me = Identity("bap.test", "key-1", b"b" * 32)
    async with Central() as central, Seller(registry, central) as seller, Bap(me, registry=registry) as bap:
        write_registry(registry, registry_entry(me, bap.uri, "BAP"))
        world = scenario.World(central.url, "CP1", bap=bap, bpp_uri=seller.uri, speed=SPEED.get(name), timeout_s=5)
        return await scenario.play(story, world), seller, bap


@pytest.mark.parametrize(
    "name",
    [
        "stopped-early",
        "reservation-and-cancel",
        "power-cut-late-stop",
        "offline-overrun-in-buffer",
        "offline-overrun-top-up",
        "walk-in-by-amount",
        "walk-in-by-kwh",
        "duplicate-and-reordered",
    ],
)
async def test_a_story_with_an_honest_seller_ends_well(name: str, tmp_path: Path) -> None:
    # The stand-in seller bills the overshoot of its late stop, so a walk-in by amount may come out due.
    result, _, _ = await tell(name, tmp_path / "registry.json", **({"due": None} if "amount" in name else {}))
    assert result.reasons == []
    assert result.ok
    if name == "offline-overrun-top-up":
        assert result.delivered_kwh == Decimal("3.5")
        assert result.billed_inr == result.paid_inr
        assert result.due_inr == 0  # it was, and is paid


async def test_a_seller_that_bills_too_much_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Seller._bill
    monkeypatch.setattr(Seller, "_bill", lambda self, kwh: honest(self, kwh + Decimal("0.1")))
    result, _, _ = await tell("stopped-early", tmp_path / "registry.json")
    assert not result.ok
    assert any("delivered only" in reason for reason in result.reasons)


async def test_a_seller_whose_sum_does_not_follow_its_quote_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(body: dict[str, Any]) -> None:
        order = body["message"].get("order", {})
        if order.get("beckn:orderStatus") == "COMPLETED":
            order["beckn:orderValue"]["value"] += 1.0

    monkeypatch.setattr(Seller, "spoil", property(lambda _: spoil, lambda *_: None), raising=False)
    result, _, _ = await tell("stopped-early", tmp_path / "registry.json")
    assert any("do not add up" in reason for reason in result.reasons)
    assert any("by the quoted prices" in reason for reason in result.reasons)


async def test_the_command_plays_a_story_and_prints_what_came_of_it(tmp_path: Path) -> None:
    registry = tmp_path / "registry.json"
    async with Central() as central, Seller(registry, central) as seller:
        words = ["bap", "--bpp", seller.uri, "--story", "power-cut-late-stop", "--url", central.url, "--id", "CP1"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulators", *words, "--registry", str(registry), "--json", stdout=-1
        )
        printed, _ = await process.communicate()
    (summary,) = json.loads(printed)
    assert process.returncode == 0, summary
    assert summary["ok"] is True
    assert summary["reasons"] == []
    assert Decimal(summary["paid_inr"]) - Decimal(summary["billed_inr"]) == Decimal(summary["refunded_inr"])


async def test_a_story_without_a_buyer_needs_only_a_charger() -> None:
    async with Central() as central:
        result = await scenario.play(scenario.load("local-tag"), scenario.World(central.url, "CP1", timeout_s=5))
    assert result.reasons == []
    assert result.delivered_kwh == Decimal("0.8")


async def test_a_step_that_never_comes_true_fails_the_story_with_its_number() -> None:
    story = scenario.parse('name = "x"\n[[step]]\ndo = "until_kwh"\nkwh = 1.0\n[expect]\nsessions = 0\n', "x")
    async with Central() as central:
        result = await scenario.play(story, scenario.World(central.url, "CP1", timeout_s=0.1))
    assert result.reasons == ["step 1 (until_kwh): CP1: 1000 Wh on connector 1 did not come within 0.1 s"]


@pytest.mark.parametrize("name", scenario.names())
def test_every_story_of_the_folder_can_be_read(name: str) -> None:
    story = scenario.load(name)
    assert story.name == name
    assert story.steps


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = 1 2", "Expected"),
        ('name = "x"\ncolour = 1', "unknown colour"),
        ('name = "x"\n[expect]\ntolerance = 1', "unknown tolerance"),
        ('name = "x"\n[[step]]\ndo = "dance"', "'dance' is none of"),
        ("title = 'x'", "needs a name"),
    ],
)
def test_a_story_with_a_typo_is_refused(text: str, reason: str) -> None:
    with pytest.raises(scenario.ScenarioError, match=reason):
        scenario.parse(text, "file")
