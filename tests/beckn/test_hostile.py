"""What a hostile buyer app with a good key, or a stranger without one, may not get: errors of ours, our time, our disk,
our network (BECKN 1.1, 2.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from beckn_shop import BAP_ID, Json, Shop, fast_charger, open_shop

from beckn_adapter.dispatch import Dispatch
from beckn_adapter.envelope import IST, parse_context
from beckn_adapter.geo import read_geometry
from beckn_adapter.grid import cells_around
from beckn_adapter.matching import TooMuchWork, Work
from beckn_adapter.members import Reading
from beckn_adapter.outbound import Outbound
from beckn_adapter.signing import ProblemKind, SignatureProblem, parse_authorization
from beckn_adapter.trust import check_callback
from beckn_adapter.v1.parts import line_of
from beckn_adapter.v1.search import search
from beckn_adapter.v1.tags import entries_of
from csms.domain.refusal import Refusal
from simulators.bap import RefusedError

# One server for the file.
on_one_loop = pytest.mark.asyncio(loop_scope="module")
FORM = "application/x-www-form-urlencoded"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """On leaving, the server's log must hold no traceback: nothing here is an error of ours."""
    async with open_shop(tmp_path_factory.mktemp("hostile"), {"beckn": {"feedback_form": True}}) as opened:
        await opened.server.sell("CP-1")
        async with fast_charger(opened, "CP-1") as charger:
            await charger.wait_online()
            await charger.wait_for("its status", lambda: charger.connectors[1].reported_status is not None)
            yield opened


# -- half of a character, written without an escape


@on_one_loop
@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("status", {"order": {"beckn:id": "HALF"}}),
        ("cancel", {"order": {"beckn:id": "HALF"}}),
        ("support", {"refId": "HALF"}),
        ("rating", {"ratings": [{"id": "HALF", "ratingValue": 3}]}),
    ],
)
async def test_bytes_that_are_no_utf_8_are_no_message(shop: Shop, action: str, message: Json) -> None:
    raw = json.dumps(shop.message(action, message)).encode()
    for half in (b"\xed\xa0\x80", b"\xff", b"\xc0\x80"):
        answer = await shop.knock(raw.replace(b"HALF", half), path=f"/{action}")
        assert (answer.status, answer.code) == (400, "30000")
    answer = await shop.knock(raw.decode().encode("utf-16"), path=f"/{action}")
    assert (answer.status, answer.code) == (400, "30000")


def test_a_key_id_that_is_no_text_is_asked_of_no_registry() -> None:
    header = (
        'Signature keyId="a\udcff|k|ed25519",algorithm="ed25519",created="1",expires="2",'
        f'headers="(created) (expires) digest",signature="{"A" * 86}=="'
    )
    with pytest.raises(SignatureProblem) as problem:
        parse_authorization(header)
    assert problem.value.kind is ProblemKind.MALFORMED
    problem.value.sentence.encode()


# -- strangers at the public pages


@on_one_loop
@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/feedback/none", f"{FORM}; charset=none", b"value=1", 404),
        ("/feedback/none", FORM, b"value=\xff", 404),
        ("/feedback/none", FORM, b"value=sNaN", 404),
        ("/payments/simulated/none", "application/json; charset=none", b"{}", 400),
        ("/payments/simulated/none", "application/json", b"[" * 100_000, 400),
        ("/payments/simulated/none", f"{FORM}; charset=none", b"status=paid", 400),
        ("/payments/webhook/simulated", "application/json", b"x" * 300_000, 413),
        ("/payments/webhook/none", "application/json", b"{}", 404),
    ],
)
async def test_rubbish_of_a_stranger_is_refused(
    shop: Shop, path: str, content_type: str, body: bytes, status: int
) -> None:
    url, headers = f"{shop.server.public_url}{path}", {"Content-Type": content_type}
    async with shop.http.post(url, data=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()


@on_one_loop
@pytest.mark.parametrize(
    ("content_type", "body"),
    [(f"{FORM}; charset=none", b"value=1"), (FORM, b"value=\xff"), (FORM, b"value=sNaN"), (FORM, b"value=1e999999999")],
)
async def test_rubbish_in_the_form_of_an_order_is_refused(shop: Shop, content_type: str, body: bytes) -> None:
    buyer = shop.buyer()
    await buyer.select(await shop.item("CP-1"), kwh=1)
    await buyer.init("BAP")
    await buyer.pay()
    await buyer.confirm()
    token = (await buyer.track())["url"].rpartition("/")[2]
    url, headers = f"{shop.server.public_url}/feedback/{token}", {"Content-Type": content_type}
    try:
        async with shop.http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 400, await answer.text()
    finally:
        await buyer.cancel()


@on_one_loop
async def test_a_challenge_that_comes_in_pieces_is_read_whole(shop: Shop) -> None:
    where = urlsplit(shop.server.public_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    body = json.dumps({"challenge": "x" * 24}).encode()
    head = f"POST /beckn/on_subscribe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body[:9])
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.write(body[9:])
    said = await reader.read()
    writer.close()
    assert b"is not JSON" not in said, said


# -- what is repeated, kept and looked through is bounded


@on_one_loop
async def test_what_every_later_message_repeats_is_short(shop: Shop) -> None:
    request = shop.select(await shop.item("CP-1"), network_id=["n", "x" * 1000, *(f"n{n}" for n in range(900))])
    assert (await shop.knock(request)).is_ack
    told = (await shop.callback(request)).context["network_id"]
    assert told[0] == "n"
    assert len(told) <= 16
    assert max(map(len, told)) <= 256


@on_one_loop
@pytest.mark.parametrize("order_id", ["a\nb", "a\x00b", "\x1b[31m"])
async def test_an_order_id_of_an_app_is_printable(shop: Shop, order_id: str) -> None:
    buyer = shop.buyer()
    await buyer.select(await shop.item("CP-1"), kwh=1)
    message = buyer.tongue.init(
        buyer.order, person=buyer.person, collected_by="BAP", subscriber_id=BAP_ID, order_id=order_id, payment_id="p"
    )  # fmt: skip
    with pytest.raises(RefusedError, match="printable"):
        await buyer._ask("init", message, "on_init")


class Counted(list[Any]):
    """A list that counts how often it is looked into."""

    looked_at = 0

    def __iter__(self) -> Any:
        for one in super().__iter__():
            self.looked_at += 1
            yield one


def test_empty_tags_without_end_are_not_all_looked_at() -> None:
    groups, entries = Counted([{}] * 300_000), Counted([{}] * 300_000)
    assert entries_of({"tags": groups}) == ()
    assert entries_of({"tags": [{"list": entries}]}) == ()
    assert max(groups.looked_at, entries.looked_at) <= 1001


def test_items_without_end_are_refused_unseen() -> None:
    with pytest.raises(Refusal, match="more than 50 items"):
        line_of({"items": [{}] * 300_000})


def test_comparisons_without_end_are_not_all_asked_of_every_connector() -> None:
    said = ">0 >1 >2 >3 >4 >5 >6 >7"
    tags = [{"code": code, "value": said} for code in ("power-rating", "tariff") for _ in range(90)]
    context = parse_context(
        {
            "context": {
                "domain": "d", "action": "search", "version": "1.1.0", "bap_id": "b", "bap_uri": "http://b.example",
                "transaction_id": "t", "message_id": "m",
            }
        }
    )  # fmt: skip
    found = search({"intent": {"tags": tags}}, Reading(context, 0, IST), with_slots=False).intent
    assert 0 < len(found.power_w) <= 16
    assert 0 < len(found.price_per_kwh) <= 16


def test_a_line_around_the_earth_at_every_corner_is_too_much_work() -> None:
    corners = [[179 if n % 2 else -179, 10] for n in range(2000)]
    shape = read_geometry({"type": "LineString", "coordinates": corners})
    with pytest.raises(TooMuchWork):
        cells_around(shape, 1.0, {(1, 1): None}, Work(300_000))


@on_one_loop
async def test_a_finder_fee_beyond_the_price_is_refused(shop: Shop) -> None:
    request = shop.select(await shop.item("CP-1"), kwh=1e9)
    attributes = {"buyerFinderFee": {"feeType": "PERCENTAGE", "feeValue": 1e9}}
    request["message"]["order"]["beckn:orderAttributes"] = attributes
    assert (await shop.knock(request)).code == "30000"


@on_one_loop
async def test_a_connector_is_not_rated_by_whoever_only_asked_its_price(shop: Shop) -> None:
    item = await shop.item("CP-1")
    counts = []
    for _ in range(2):
        buyer = shop.buyer()
        await buyer.select(item, kwh=1)
        told = await buyer._ask("rating", {"ratings": [{"id": item.id, "ratingValue": 1}]}, "on_rating")
        counts.append(told.body["message"]["aggregate"]["count"])
    assert counts == [1, 1]  # each is an opinion about its own order, none about the connector


class Inbox:
    """A store with nothing but messages: `(no, conversation)`."""

    def __init__(self, *messages: tuple[int, str]) -> None:
        self.messages = messages
        self.most = 0

    async def read(self, query: Any) -> Any:
        return query(self)

    def many(self, _table: Any, *, limit: int, after: int, **_: Any) -> list[Json]:
        rows = [{"no": no, "bap_id": "b", "transaction_id": name} for no, name in self.messages if no > after]
        self.most = max(self.most, len(rows[:limit]))
        return rows[:limit]


async def test_a_long_conversation_hides_no_other_and_keeps_its_order() -> None:
    dispatch = Dispatch.__new__(Dispatch)
    inbox = Inbox(*((no, "long") for no in range(1, 700)), (700, "short"))
    dispatch._store, dispatch._busy = inbox, set()  # type: ignore[assignment]
    assert {name: row["no"] for name, row in (await dispatch._heads()).items()} == {"b|long": 1}
    dispatch._busy = {"b|long"}
    assert {name: row["no"] for name, row in (await dispatch._heads()).items()} == {"b|short": 700}
    assert inbox.most <= 100

    class Ended(set[str]):
        """The work on the long conversation ends while the inbox is looked through."""

        def __contains__(self, name: object) -> bool:
            if self.asked < 3:
                self.asked += 1
                return name == "b|long"
            return False

        asked = 0

    dispatch._busy = Ended()
    assert {name: row["no"] for name, row in (await dispatch._heads()).items()} == {"b|short": 700}


# -- where we may be sent


def test_hosts_we_call_for_ourselves_are_no_place_for_callbacks() -> None:
    outbound = Outbound(timeout_s=1, hosts=["allowed.example"], own=["registry.example", "10.0.0.9", None])
    check_callback("https://allowed.example/x", "https://bap.example/y", outbound)
    for uri in ("https://registry.example/subscribe?x=", "http://10.0.0.9:6379/x"):
        with pytest.raises(Refusal):
            check_callback(uri, "https://bap.example/y", outbound)
    with pytest.raises(Refusal):
        check_callback("http://10.0.0.9/x", None, outbound)
