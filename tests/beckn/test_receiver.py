"""The receiver over real HTTP: who may knock, what is refused and how, and what an ACK promises (BECKN 1, 2.3)."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import BAP_ID, Json, Shop, identity, open_shop
from running import BPP_ID

from simulators import bodies
from simulators.bap import Bap
from simulators.buyer import Item
from simulators.clock import wall_ms, written
from simulators.signing import sign

# One server for the file; every test has a conversation of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = identity("other.example")
STRANGER = identity("stranger.example")
REALM = f'Signature realm="{BPP_ID}",headers="(created) (expires) digest"'
HOUR_MS = 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Shop, Item, Bap]]:
    async with open_shop(tmp_path_factory.mktemp("receiver"), known=(OTHER,)) as shop:
        await shop.server.sell("CP-R")
        async with Bap(OTHER, shop.server.registry) as other:
            yield shop, await shop.item("CP-R"), other


@pytest_asyncio.fixture(loop_scope="module")
async def shop(market: tuple[Shop, Item, Bap]) -> AsyncIterator[Shop]:
    yield market[0]
    market[0].judge()


@pytest.fixture
def item(market: tuple[Shop, Item, Bap]) -> Item:
    return market[1]


@pytest.fixture
def other(market: tuple[Shop, Item, Bap]) -> Bap:
    """The other buyer app, with its own callback server."""
    return market[2]


_slots = iter(range(24, 10_000, 2))


def tomorrow() -> tuple[str, str]:
    """A slot nobody else has: reserving needs no charger that is online."""
    start = wall_ms() + next(_slots) * HOUR_MS
    return written(start), written(start + HOUR_MS)


def discover(shop: Shop, **context: Any) -> Json:
    return shop.message("discover", bodies.discover(), **context)


async def order_of(shop: Shop, item: Item) -> Json:
    """A priced order of this buyer app; its select request."""
    request = shop.select(item, slot=tomorrow())
    assert (await shop.knock(request)).is_ack
    assert (await shop.callback(request)).error is None
    return request


async def silence(shop: Shop, request: Json, seconds: float = 0.4) -> None:
    """No callback follows a NACK."""
    await asyncio.sleep(seconds)
    assert shop.bap.messages(request["context"]["transaction_id"]) == []


# --- who may knock


async def test_a_signed_request_is_acked_and_answered_under_its_own_ids(shop: Shop) -> None:
    request = discover(shop, network_id=["net-1"], location={"country": {"code": "IND"}, "city": {"code": "std:080"}})
    answer = await shop.knock(request)
    assert answer.is_ack
    assert set(answer.body) == {"transaction_id", "timestamp", "ack_status"}
    assert answer.body["transaction_id"] == request["context"]["transaction_id"]
    context = (await shop.callback(request)).context
    for name in ("domain", "version", "transaction_id", "message_id", "bap_id", "bap_uri", "network_id", "location"):
        assert context[name] == request["context"][name], name


async def test_without_a_signature_it_is_401_with_the_challenge(shop: Shop) -> None:
    request = discover(shop)
    answer = await shop.knock(request, authorization=None)
    assert (answer.status, answer.code) == (401, "AUT_SIGNATURE_MISSING")
    assert answer.headers["WWW-Authenticate"] == REALM
    assert answer.body["transaction_id"] == request["context"]["transaction_id"]
    await silence(shop, request)


@pytest.mark.parametrize("case", ["other-key", "other-body", "expired", "from-the-future", "unknown-subscriber",
                                  "unknown-key-id", "signer-is-not-bap", "bearer", "garbage", "half",
                                  "other-algorithm", "two-part-key-id"])  # fmt: skip
async def test_a_signature_that_does_not_hold_is_401(shop: Shop, case: str) -> None:
    request = discover(shop)
    now = int(time.time())
    me = shop.bap.identity
    good = 'Signature keyId="{}|{}|ed25519",algorithm="ed25519",created="1",expires="2",signature="AAAA"'
    options: dict[str, dict[str, Any]] = {
        "other-key": {"signer": identity(BAP_ID, me.key_id)},
        "expired": {"created": now - 400, "expires": now - 100},
        "from-the-future": {"created": now + 60, "expires": now + 360},
        "unknown-subscriber": {"signer": STRANGER},
        "unknown-key-id": {"signer": type(me)(me.subscriber_id, "no-such-key", me.seed)},
        "signer-is-not-bap": {"signer": OTHER},
        "bearer": {"authorization": "Bearer abc"},
        "garbage": {"authorization": 'Signature keyId=",,,==""'},
        "half": {"authorization": good.format(BAP_ID, me.key_id)[:60]},
        "other-algorithm": {"authorization": good.format(BAP_ID, me.key_id).replace('m="ed', 'm="rsa')},
        "two-part-key-id": {"authorization": good.format(BAP_ID, me.key_id).replace("|ed25519", "")},
    }
    if case == "other-body":
        raw = json.dumps(request).encode()
        signed = sign(me, raw, now)
        answer = await shop.knock(raw + b" ", path="/discover", authorization=signed)
    else:
        answer = await shop.knock(request, **options[case])
    assert (answer.status, answer.code) == (401, "AUT_SIGNATURE_INVALID")
    assert answer.headers["WWW-Authenticate"] == REALM
    await silence(shop, request, 0.1)


async def test_clocks_a_few_seconds_apart_are_tolerated(shop: Shop) -> None:
    now = int(time.time())
    assert (await shop.knock(discover(shop), created=now + 7, expires=now + 300)).is_ack
    assert (await shop.knock(discover(shop), created=now - 300, expires=now - 3)).is_ack


async def test_the_signature_is_over_the_bytes_not_over_the_json(shop: Shop) -> None:
    request = discover(shop)
    request["message"]["text_search"] = "₹ × ಬೆಂಗಳೂರು"
    spaced = json.dumps(request, indent=2, ensure_ascii=False).encode() + b"\n"
    answer = await shop.knock(spaced, path="/discover", content_type="application/json; charset=utf-8")
    assert answer.is_ack
    assert (await shop.callback(request)).error is None


# --- what is refused


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"not json", b"[]", b'["a"]', b"null", b"17", b'"text"', b"{}", b'{"context": []}', b'{"context": 1}',
     b"\xff\xfe\x00", b'{"context": {"action": "select"}}', b"[" * 200_000, b'{"a":' * 5_000, b"1" * 10_000],
    ids=lambda raw: raw[:20].decode("latin1"),
)  # fmt: skip
async def test_what_is_no_message_is_400_with_a_code_and_a_sentence(shop: Shop, raw: bytes) -> None:
    answer = await shop.knock(raw, path="/select")
    assert (answer.status, answer.code) == (400, "30000")


async def test_nesting_beyond_64_is_refused_and_below_it_is_not(shop: Shop) -> None:
    def nested(depth: int) -> Json:
        request = discover(shop)
        for _ in range(depth):
            request["x"] = {"x": request.get("x", 1)}
        return request

    answer = await shop.knock(nested(70))
    assert (answer.status, answer.code) == (400, "30000")
    assert (await shop.knock(nested(60))).is_ack


async def test_a_body_over_a_mebibyte_is_413(shop: Shop) -> None:
    request = discover(shop)
    request["padding"] = "x" * (1024 * 1024)
    answer = await shop.knock(request)
    assert (answer.status, answer.code) == (413, "30000")
    request["padding"] = "x" * (1000 * 1024)
    assert (await shop.knock(request)).is_ack


@pytest.mark.parametrize(
    ("member", "value"),
    [("domain", None), ("bap_id", ""), ("bap_uri", None), ("bap_uri", "ftp://x"), ("bap_uri", "no address"),
     ("transaction_id", None), ("message_id", None), ("message_id", 7), ("transaction_id", ["a"]),
     ("transaction_id", "x" * 2000), ("message_id", "a\nb"), ("action", None)],
)  # fmt: skip
async def test_a_context_that_cannot_be_answered_names_its_member(shop: Shop, member: str, value: Any) -> None:
    request = discover(shop)
    request["context"].pop(member)
    if value is not None:
        request["context"][member] = value
    raw = json.dumps(request).encode()
    answer = await shop.knock(raw, path="/discover")
    assert (answer.status, answer.code) == (400, "30000")
    assert member in answer.body["error"]["message"]


@pytest.mark.parametrize("host", ["10.0.0.8", "[::1]", "169.254.169.254", "localhost", "db.internal", "database"])
async def test_a_signed_message_cannot_send_us_into_our_own_network(shop: Shop, host: str) -> None:
    request = discover(shop, bap_uri=f"http://{host}:80/latest")
    answer = await shop.knock(request)
    assert (answer.status, answer.code) == (400, "30000")
    assert "private host" in answer.body["error"]["message"]


@pytest.mark.parametrize(
    ("action", "path"),
    [("select", "/init"), ("discover", "/select"), ("select", "/on_select"), ("confirm", "/x/y/select")],
)
async def test_address_and_context_must_name_the_same_action(shop: Shop, item: Item, action: str, path: str) -> None:
    request = shop.select(item, slot=tomorrow())
    request["context"]["action"] = action
    answer = await shop.knock(request, path=path)
    assert (answer.status, answer.code) == (400, "30000")


@pytest.mark.parametrize("action", ["on_select", "search", "frobnicate", "catalog_publish"])
async def test_an_action_we_do_not_offer_is_refused(shop: Shop, action: str) -> None:
    answer = await shop.knock(shop.message(action, {"order": {}}))
    assert (answer.status, answer.code) == (400, "40001")


async def test_a_message_for_another_provider_is_refused_unless_it_is_a_discover(shop: Shop, item: Item) -> None:
    answer = await shop.knock(shop.select(item, slot=tomorrow(), bpp_id="somebody.else"))
    assert (answer.status, answer.code) == (400, "30000")
    answer = await shop.knock(shop.select(item, slot=tomorrow(), bpp_id=None))
    assert (answer.status, answer.code) == (400, "30000")
    # A discover reaches us through a catalogue service, addressed to it.
    request = discover(shop, bpp_id="cds.example", bpp_uri="https://cds.example/x")
    assert (await shop.knock(request)).is_ack
    assert (await shop.callback(request)).context["bpp_id"] == BPP_ID


async def test_the_camel_case_dialect_of_the_same_version_number_is_refused(shop: Shop) -> None:
    raw = json.dumps({
        "context": {"version": "2.0.0", "action": "discover", "bapId": BAP_ID, "bapUri": shop.bap.uri,
                    "transactionId": "tx-lts-1", "messageId": "m-1", "networkId": "nfh.global/testnet-evcharging"},
        "message": {"intent": {}},
    }).encode()  # fmt: skip
    answer = await shop.knock(raw, path="/discover")
    assert (answer.status, answer.code) == (400, "30000")
    assert answer.body["transaction_id"] == "tx-lts-1"
    assert "profile" in answer.body["error"]["message"]


@pytest.mark.parametrize("action", ["search", "select", "confirm"])
async def test_a_generation_1_request_is_refused_in_its_own_shape(shop: Shop, action: str) -> None:
    nowhere = {"fulfillment": {"stops": [{"location": {"gps": "nowhere"}}]}}
    request = shop.message(action, {"intent": nowhere}, version="1.1.0", domain="deg:ev-charging")
    answer = await shop.knock(request)
    assert answer.status == 400
    assert answer.body["message"] == {"ack": {"status": "NACK"}}
    assert set(answer.body["error"]) == {"code", "paths", "message"}
    answer.assert_silent()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("discover", {}),
        ("discover", {"filters": "$[?(@.a = 1"}),
        ("discover", {"filters": {"type": "jsonpath", "expression": "__import__('os')"}}),
        ("discover", {"spatial": [{"op": "s_dwithin", "geometry": {"type": "Point", "coordinates": [77.5, 12.9]}}]}),
        ("discover", {"spatial": [{"op": "s_near", "geometry": {"type": "Point", "coordinates": [77.5, 12.9]}}]}),
        ("discover", {"text_search": 5}),
        ("select", {}),
        ("select", {"order": []}),
        ("select", {"order": {"beckn:buyer": {"beckn:id": "u"}}}),
        ("select", {"order": {"beckn:buyer": {"beckn:id": "u"}, "beckn:orderItems": [{}]}}),
        ("status", {}),
        ("track", {}),
        ("support", {"refId": 7}),
        ("rating", {"ratings": []}),
        ("confirm", None),
    ],
)
async def test_content_that_cannot_be_meant_is_refused_before_the_ack(shop: Shop, action: str, message: Any) -> None:
    answer = await shop.knock(shop.message(action, message))
    assert (answer.status, answer.code) == (400, "30000")


@pytest.mark.parametrize(
    "quantity",
    [{"unitCode": "KWH", "unitQuantity": 0}, {"unitCode": "KWH", "unitQuantity": -1},
     {"unitCode": "LITRE", "unitQuantity": 1}, {"unitCode": "KWH", "unitQuantity": "much"},
     {"unitCode": "KWH", "unitQuantity": 1e300}],
)  # fmt: skip
async def test_a_quantity_that_is_none_is_refused(shop: Shop, item: Item, quantity: Json) -> None:
    request = shop.select(item, slot=tomorrow())
    request["message"]["order"]["beckn:orderItems"][0]["beckn:quantity"] = quantity
    answer = await shop.knock(request)
    assert (answer.status, answer.code) == (400, "30000")


async def test_more_than_one_connector_in_an_order_is_refused(shop: Shop, item: Item) -> None:
    request = shop.select(item, slot=tomorrow())
    request["message"]["order"]["beckn:orderItems"] *= 2
    assert (await shop.knock(request)).code == "30000"


@pytest.mark.parametrize("name", ["\ud800", "a\x00b", "\x1b[31m", "x" * 250, "<script>"])
async def test_odd_text_in_what_is_echoed_stops_nothing(shop: Shop, item: Item, name: str) -> None:
    """A message that is acknowledged is answered, and the next one too."""
    request = shop.select(item, slot=tomorrow())
    request["message"]["order"]["beckn:buyer"]["beckn:displayName"] = name
    answer = await shop.knock(json.dumps(request).encode(), path="/select")
    if answer.is_ack:
        assert (await shop.callback(request)).error is None
    else:
        assert (answer.status, answer.code) == (400, "30000")
    probe = discover(shop)
    assert (await shop.knock(probe)).is_ack
    assert (await shop.callback(probe)).error is None


# --- where one may knock


async def test_a_stale_timestamp_is_taken_by_default(shop: Shop) -> None:
    request = discover(shop, timestamp="2024-01-15T10:30:00Z")
    assert (await shop.knock(request)).is_ack
    assert (await shop.callback(request)).error is None


@pytest.mark.parametrize("timestamp", ["2025:09:24:10:00:00", "yesterday", None, 17])
async def test_a_timestamp_nobody_can_read_is_taken_too(shop: Shop, timestamp: Any) -> None:
    request = discover(shop, timestamp=timestamp, ttl="15S")
    assert (await shop.knock(request)).is_ack
    assert (await shop.callback(request)).error is None


async def test_discover_may_be_a_get_with_a_body(shop: Shop) -> None:
    request = discover(shop)
    assert (await shop.knock(request, method="GET")).is_ack
    assert (await shop.callback(request)).error is None


async def test_the_bare_url_takes_every_action(shop: Shop, item: Item) -> None:
    request = shop.select(item, slot=tomorrow())
    assert (await shop.knock(request, path="")).is_ack
    assert (await shop.callback(request)).error is None


async def test_a_trailing_slash_at_the_buyers_address_is_dropped(shop: Shop) -> None:
    request = discover(shop, bap_uri=shop.bap.uri + "/")
    assert (await shop.knock(request)).is_ack
    assert (await shop.callback(request)).context["bap_uri"] == shop.bap.uri + "/"


@pytest.mark.parametrize(("method", "path"), [("GET", "/select"), ("PUT", "/select"), ("DELETE", "")])
async def test_other_methods_are_refused_without_a_word_too_many(shop: Shop, method: str, path: str) -> None:
    answer = await shop.knock(discover(shop), method=method, path=path)
    assert answer.status in {404, 405}
    answer.assert_silent()


async def test_the_operator_api_is_not_on_this_listener(shop: Shop) -> None:
    for path in ("/api/v1/chargers", "/openapi.json", "/metrics", "/"):
        async with shop.http.get(shop.server.public_url + path) as answer:
            assert answer.status == 404, path


# --- what an ACK promises


@pytest.mark.parametrize("action", ["select", "discover", "status"])
async def test_a_true_repeat_is_acked_not_worked_again_and_its_answer_is_sent_once_more(
    shop: Shop, item: Item, action: str
) -> None:
    unknown = shop.message("status", {"order": {"beckn:id": "no-such-order"}})  # an error is an answer too
    made = {"select": shop.select(item, slot=tomorrow()), "discover": discover(shop), "status": unknown}
    raw = json.dumps(request := made[action]).encode()
    assert (await shop.knock(raw, path=f"/{action}")).is_ack
    first = await shop.callback(request)
    mark = len(shop.bap.received)
    assert (await shop.knock(raw, path=f"/{action}")).is_ack
    again = await shop.callback(request, after=mark)
    assert again.body == first.body  # worked again, it would carry another time
    await asyncio.sleep(0.4)
    assert len(shop.bap.messages(request["context"]["transaction_id"])) == 2


async def test_many_repeats_at_once_are_one_message(shop: Shop, item: Item) -> None:
    request = shop.select(item, slot=tomorrow())
    raw = json.dumps(request).encode()
    answers = await asyncio.gather(*(shop.knock(raw, path="/select") for _ in range(20)))
    assert all(answer.is_ack for answer in answers)
    first = await shop.callback(request)
    await asyncio.sleep(0.5)
    assert all(c.body == first.body for c in shop.bap.messages(request["context"]["transaction_id"]))


async def test_a_used_message_id_with_another_body_is_a_new_message(shop: Shop, item: Item) -> None:
    request = shop.select(item, kwh=1, slot=tomorrow())
    assert (await shop.knock(request)).is_ack
    first = await shop.callback(request)
    mark = len(shop.bap.received)
    request["message"]["order"]["beckn:orderItems"][0]["beckn:quantity"]["unitQuantity"] = 2
    assert (await shop.knock(request)).is_ack
    second = await shop.callback(request, after=mark)
    values = [c.order["beckn:orderItems"][0]["beckn:quantity"]["unitQuantity"] for c in (first, second)]
    assert values == [1, 2]


@pytest.mark.parametrize("action", ["update", "cancel"])
async def test_update_and_cancel_of_an_unknown_order_are_refused_at_once(shop: Shop, item: Item, action: str) -> None:
    order = {"beckn:id": "no-such-order", "beckn:orderItems": [{"beckn:orderedItem": item.id}]}
    request = shop.message(action, {"order": order})
    answer = await shop.knock(request)
    assert (answer.status, answer.code) == (400, "30010")
    await silence(shop, request)


@pytest.mark.parametrize("action", ["confirm", "status", "track"])
async def test_other_actions_on_an_unknown_order_get_an_error_callback(shop: Shop, action: str) -> None:
    request = shop.message(action, {"order": {"beckn:id": "no-such-order"}})
    assert (await shop.knock(request)).is_ack
    error = (await shop.callback(request)).error
    assert error is not None
    assert error["code"] == "30010"


@pytest.mark.parametrize("action", ["update", "cancel", "status", "confirm", "track"])
async def test_an_order_of_another_buyer_app_is_as_unknown_as_one_that_never_was(
    shop: Shop, item: Item, other: Bap, action: str
) -> None:
    mine = await order_of(shop, item)
    order_id = (await init_of(shop, mine)).order["beckn:id"]
    transactions = {"same": mine["context"]["transaction_id"], "other": str(uuid.uuid4())}
    for case, transaction_id in transactions.items():
        said = []
        for named in (order_id, "no-such-order"):
            request = shop.message(action, {"order": {"beckn:id": named}}, transaction_id=transaction_id)
            request["context"] |= {"bap_id": OTHER.subscriber_id, "bap_uri": other.uri}
            answer = await shop.knock(request, signer=OTHER)
            if action in {"update", "cancel"}:
                assert (answer.status, answer.code) == (400, "30010")
                said.append(answer.body["error"]["message"].replace(named, "X"))
                continue
            assert answer.is_ack
            told = await other.wait_for(f"on_{action}", transaction_id, after=len(said))
            assert told.body["error"]["code"] == "30010", case
            body = json.dumps(told.body["message"])
            assert item.id not in body
            assert "beckn:orderValue" not in body
            said.append((told.body["error"]["message"] + body).replace(named, "X"))
        assert said[0] == said[1]
        other.received.clear()


async def init_of(shop: Shop, select: Json, order_id: str = "") -> Any:
    quoted = (await shop.callback(select)).order
    request = shop.message(
        "init",
        bodies.init(
            quoted, collected_by="BAP" if order_id else "BPP", subscriber_id=BAP_ID, order_id=order_id,
            payment_id=f"pay-{order_id}",
        ),
        transaction_id=select["context"]["transaction_id"],
    )  # fmt: skip
    assert (await shop.knock(request)).is_ack
    return await shop.callback(request)


async def test_an_order_is_found_by_its_id_from_another_conversation_of_the_same_app(shop: Shop, item: Item) -> None:
    order_id = (await init_of(shop, await order_of(shop, item))).order["beckn:id"]
    for action in ("status", "cancel"):
        request = shop.message(action, {"order": {"beckn:id": order_id}})
        assert (await shop.knock(request)).is_ack
        told = await shop.callback(request)
        assert told.error is None
        assert told.order["beckn:id"] == order_id


async def test_a_buyer_app_that_does_not_answer_blocks_nobody_else(shop: Shop) -> None:
    """Its callbacks are retried in their own conversation."""
    dead = discover(shop, bap_uri="http://127.0.0.1:9/nobody")
    assert (await shop.knock(dead)).is_ack
    alive = discover(shop)
    assert (await shop.knock(alive)).is_ack
    assert (await shop.callback(alive, timeout_s=3)).error is None


# --- servers set up otherwise


STRICT = {"reject_stale": True, "body_kib": 16, "discover_per_min": 3, "requests_per_min": 8}


async def test_a_strict_server_refuses_what_is_stale_too_big_or_too_often(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    third, fourth = identity("third.example"), identity("fourth.example")
    folder = tmp_path_factory.mktemp("strict")
    async with open_shop(folder, {"beckn": STRICT}, known=(OTHER, third, fourth)) as shop:
        for case, fresh in {"PT30S": 80, "15S": 60, "PT1M": 100}.items():
            for late_s, is_taken in ((fresh, True), (fresh + 60, False)):
                request = shop.message("status", {"order": {"beckn:id": "x"}}, bap_id=third.subscriber_id, ttl=case)
                request["context"]["timestamp"] = written(wall_ms() - late_s * 1000)
                answer = await shop.knock(request, signer=third)
                assert answer.is_ack is is_taken, (case, late_s)
                if not is_taken:
                    assert (answer.status, answer.code) == (400, "30000")
                    assert "ttl" in answer.body["error"]["message"]
        # No readable time: not stale, it is simply not known.
        assert (await shop.knock(discover(shop, timestamp=None))).is_ack

        request = discover(shop, bap_id=fourth.subscriber_id)
        request["padding"] = "x" * 20_000
        assert (await shop.knock(request, signer=fourth)).status == 413

        async def ask(action: str, times: int) -> list[int]:
            made = [shop.message(action, bodies.discover(), bap_id=OTHER.subscriber_id) for _ in range(times)]
            for one in made:
                if action == "status":
                    one["message"] = {"order": {"beckn:id": "x"}}
            return [(await shop.knock(one, signer=OTHER)).status for one in made]

        assert await ask("discover", 5) == [200] * 3 + [429] * 2
        assert await ask("status", 7) == [200] * 5 + [429] * 2
        once_more = shop.message("status", {"order": {"beckn:id": "x"}}, bap_id=OTHER.subscriber_id)
        answer = await shop.knock(once_more, signer=OTHER)
        assert (answer.status, answer.code) == (429, "50000")
        # The others are not held up by one who asks too much.
        assert (await shop.knock(discover(shop))).is_ack


@pytest.mark.slow
async def test_what_was_acked_is_answered_though_the_server_is_killed_at_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    with socket.socket() as closed:  # the buyer app's port: nobody listens there before the kill
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with open_shop(folder) as shop:
            await shop.server.sell("CP-K")
            item = await shop.item("CP-K")
            uri = shop.bap.uri.replace(shop.bap.uri.split(":")[2].split("/")[0], str(port))
            requests = [shop.select(item, slot=tomorrow(), bap_uri=uri) for _ in range(12)]
            answers = await asyncio.gather(*(shop.knock(request) for request in requests))
            await shop.server.kill()
            assert all(answer.is_ack for answer in answers)
            closed.close()
            async with Bap(shop.bap.identity, shop.server.registry, port=port) as late:
                await shop.server.start()
                for request in requests:
                    context = request["context"]
                    told = await late.wait_for("on_select", context["transaction_id"])
                    assert told.error is None
                    assert told.context["message_id"] == context["message_id"]
                orders = (await shop.server.api("GET", "/api/v1/orders?limit=100"))["items"]
                assert len(orders) == len(requests)
                assert late.problems == []
