"""Contexts, acknowledgements, error codes, times, message identity."""

import contextlib
import json

import pytest
from beckn_world import BPP, NOW, SPEAKER, context_of, order, request
from hypothesis import given
from hypothesis import strategies as st
from schema import needs_schemas, validate_ack

from beckn_adapter.envelope import (
    Dialect,
    MessageKey,
    Outcome,
    ack_legacy,
    ack_v2,
    body_digest,
    callback_url,
    check_action,
    check_addressee,
    detect_dialect,
    key_of,
    nack_legacy,
    nack_v2,
    parse_clock,
    parse_context,
    parse_duration,
    parse_instant,
    parse_ttl,
    read_answer,
    read_error,
    reply_context,
    serialise,
    transaction_id_of,
)
from beckn_adapter.errors import CODES, BecknError, error_of
from beckn_adapter.v2.encode import news_for, publish_context
from csms.domain.refusal import Refusal, Why


def without(name: str) -> dict[str, object]:
    body = request("select", {})
    del body["context"][name]
    return body


# --- dialects and contexts


@pytest.mark.parametrize(
    ("context", "message", "dialect"),
    [
        ({"version": "2.0.0", "action": "select"}, {}, Dialect.V2),
        ({"action": "discover"}, {}, Dialect.V2),
        ({"version": "1.1.0", "action": "search"}, {"intent": {}}, Dialect.V1),
        ({"action": "select"}, {}, Dialect.V1),
        ({"version": "2.0.0", "action": "select", "bapId": "x"}, {}, Dialect.V2_LTS),
        ({"version": "1.1.0", "transactionId": "x"}, {}, Dialect.V2_LTS),
        ({"version": "2.0.0", "action": "select"}, {"contract": {}}, Dialect.V2_LTS),
        ({"version": "2.0.0", "action": "discover"}, {"intent": {}}, Dialect.V2_LTS),
        ("not an object", None, Dialect.V1),
    ],
)
def test_a_dialect_is_told_by_its_members(context: object, message: object, dialect: Dialect) -> None:
    assert detect_dialect({"context": context, "message": message}) is dialect


def test_a_context_is_read_and_answered() -> None:
    context = context_of("select", location={"country": {"code": "IND"}}, network_id=["n"], key="k", odd=1)
    assert (context.dialect, context.at_ms, context.ttl_ms) == (Dialect.V2, NOW, 30_000)
    assert context.expiry_ms(0) == NOW + 30_000
    answer = reply_context(context, BPP, NOW + 5)
    assert answer == {
        "version": "2.0.0",
        "action": "on_select",
        "domain": "beckn.one:deg:ev-charging:*",
        "bap_id": "b.example",
        "bap_uri": "https://b.example/bap/receiver",
        "bpp_id": "p.example",
        "bpp_uri": "https://p.example/beckn/bpp/receiver",
        "transaction_id": "2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002",
        "message_id": "6ace310b-6440-4421-a2ed-b484c7548bd5",
        "timestamp": "2026-01-02T03:04:05.005Z",
        "ttl": "PT30S",
        "location": {"country": {"code": "IND"}},
        "network_id": ["n"],
    }
    assert reply_context(context, BPP, NOW, message_id="m2")["message_id"] == "m2"


@pytest.mark.parametrize("name", ["domain", "action", "bap_id", "bap_uri", "transaction_id", "message_id"])
def test_a_missing_member_is_named(name: str) -> None:
    with pytest.raises(Refusal, match=f"context.{name} is missing"):
        parse_context(without(name))


@pytest.mark.parametrize("name", ["version", "ttl", "timestamp", "bpp_id", "bpp_uri"])
def test_what_can_be_done_without_is_not_demanded(name: str) -> None:
    assert parse_context(without(name)).action == "select"


@pytest.mark.parametrize(
    "change",
    [
        {"bap_uri": "ftp://x"},
        {"bap_uri": "https://"},
        {"bap_uri": "http://[::1"},
        {"bap_id": 7},
        {"bap_id": "  "},
        {"message_id": "a\nb"},
        {"transaction_id": "x" * 300},
    ],
)
def test_an_unusable_member_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Refusal) as caught:
        context_of("select", **change)
    assert caught.value.why is Why.INVALID_REQUEST


@pytest.mark.parametrize("body", [{}, {"context": None}, {"context": []}, {"context": {"bapId": "x"}}])
def test_a_body_without_a_readable_context_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(Refusal):
        parse_context(body)


def test_a_message_for_somebody_else_is_refused_except_before_anybody_is_chosen() -> None:
    check_addressee(context_of("select"), "p.example")
    check_addressee(context_of("discover", bpp_id="cds.example"), "p.example")
    with pytest.raises(Refusal):
        check_addressee(context_of("select", bpp_id="other.example"), "p.example")
    with pytest.raises(Refusal):
        check_addressee(parse_context(without("bpp_id")), "p.example")


def test_the_address_and_the_context_must_name_one_action() -> None:
    check_action(context_of("select"), "select")
    check_action(context_of("on_catalog_publish"), "on_publish")
    with pytest.raises(Refusal):
        check_action(context_of("select"), "init")


def test_callbacks_go_below_the_given_address() -> None:
    assert callback_url("https://b.example/r/", "on_select") == "https://b.example/r/on_select"
    assert callback_url("https://b.example/r", "on_select") == "https://b.example/r/on_select"


def test_news_of_ours_carries_a_fresh_message_id_and_what_the_conversation_had() -> None:
    told = order(wire={"context": {"network_id": ["n"]}})
    context = news_for(told, SPEAKER, "on_update", "fresh", NOW)
    assert (context["message_id"], context["transaction_id"]) == ("fresh", told.transaction_id)
    assert context["network_id"] == ["n"]


def test_a_published_catalog_names_us_on_both_sides() -> None:
    context = publish_context(BPP, "d", "t", "m", NOW)
    assert (
        (context["bap_id"], context["bap_uri"])
        == (context["bpp_id"], context["bpp_uri"])
        == (
            BPP.subscriber_id,
            BPP.uri,
        )
    )


def test_a_body_is_serialised_once_without_escapes_and_without_nonsense_numbers() -> None:
    assert serialise({"a": "×", "b": [1, 2.5]}) == '{"a":"×","b":[1,2.5]}'.encode()
    with pytest.raises(ValueError):
        serialise({"a": float("nan")})


# --- acknowledgements


@needs_schemas
def test_our_acknowledgements_pass_the_schema() -> None:
    assert validate_ack(ack_v2("t", NOW)) == []
    assert validate_ack(nack_v2("t", NOW, BecknError("30000", "no"))) == []
    assert validate_ack(nack_v2("t", NOW, BecknError("30000", "no", {"path": "x"}))) == []


def test_the_older_acknowledgements() -> None:
    assert ack_legacy() == {"message": {"ack": {"status": "ACK"}}}
    assert nack_legacy(BecknError("30000", "no")) == {
        "message": {"ack": {"status": "NACK"}},
        "error": {"code": "30000", "paths": "", "message": "no"},
    }


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"message": {"ack": {"status": "ACK"}}}, Outcome.ACK),
        (202, {"context": {}, "message": {"ack": {"status": "ACK"}}}, Outcome.ACK),
        (200, {"transaction_id": "t", "timestamp": "x", "ack_status": "ACK"}, Outcome.ACK),
        (200, {"ack_status": "ACK"}, Outcome.ACK),
        (202, {"message": {"status": "ACK", "messageId": "m"}}, Outcome.ACK),
        (200, {"status": "ack"}, Outcome.ACK),
        (200, {"message": {"ack": {"status": "NACK"}}, "error": {"code": 1}}, Outcome.NACK),
        (200, {"message": {"ack": {"status": "NACK"}, "error": {"code": "x", "message": "y"}}}, Outcome.NACK),
        (200, {"ack_status": "NACK"}, Outcome.NACK),
        (400, {"message": {"ack": {"status": "ACK"}}}, Outcome.NACK),
        (404, "not found", Outcome.NACK),
        (302, "", Outcome.NACK),
        (503, "", Outcome.RETRY),
        (500, {"ack_status": "NACK"}, Outcome.RETRY),
    ],
)
def test_a_peers_answer_in_any_shape(status: int, body: object, outcome: Outcome) -> None:
    assert read_answer(status, json.dumps(body).encode()).outcome is outcome


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"[" * 100_000])
def test_success_without_an_acknowledgement_is_taken_with_a_warning(body: bytes) -> None:
    answer = read_answer(200, body)
    assert answer.outcome is Outcome.ACK
    assert answer.warning is not None


def test_an_error_is_read_wherever_it_stands() -> None:
    assert read_error({"error": {"code": 30000, "message": "no"}}) == BecknError("30000", "no")
    assert read_error({"message": {"error": {"code": "x"}}}) == BecknError("x", "")
    assert read_error({"error": {}, "message": {}}) is None


@pytest.mark.parametrize("body", [None, [], {}, {"context": 1}, {"context": {"transaction_id": 5}}])
def test_a_broken_message_still_gets_an_acknowledgement(body: object) -> None:
    assert transaction_id_of(body) == "unknown"
    assert transaction_id_of(request("select", {})) == "2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002"


# --- errors


def test_every_reason_has_a_code_of_the_network() -> None:
    assert set(CODES) == set(Why)
    assert all(code.isdigit() and len(code) == 5 for code in CODES.values())


@pytest.mark.parametrize(
    ("why", "action", "code"),
    [
        (Why.UNKNOWN_ORDER, "status", "30010"),
        (Why.UNKNOWN_ORDER, "rating", "30014"),
        (Why.WRONG_STATE, "update", "50002"),
        (Why.WRONG_STATE, "cancel", "50001"),
        (Why.NOT_SUPPORTED, "track", "40005"),
        (Why.NOT_SUPPORTED, "rating", "50003"),
        (Why.SLOT_TAKEN, "select", "30008"),
    ],
)
def test_a_refusal_becomes_a_code_that_fits_the_action(why: Why, action: str, code: str) -> None:
    assert error_of(Refusal(why, "because"), action) == BecknError(code, "because")


# --- identity


def test_a_message_is_known_by_four_ids_and_told_apart_by_its_body() -> None:
    key = key_of(context_of("update"))
    assert key == MessageKey(
        "b.example", "2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002", "6ace310b-6440-4421-a2ed-b484c7548bd5", "update"
    )
    assert body_digest(b"start") != body_digest(b"stop")
    assert body_digest(b"start") == body_digest(b"start")


# --- time


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("PT30S", 30_000),
        ("PT1M30S", 90_000),
        ("P1DT1H", 90_000_000),
        ("P1D", 86_400_000),
        ("PT0.5S", 500),
        ("15S", 15_000),
        ("10M", 600_000),
        ("pt5s", 5_000),
        ("", None),
        ("P", None),
        ("PT", None),
        ("30", None),
        ("PT-5S", None),
        ("PT5S5M", None),
        ("P1Y", None),
    ],
)
def test_durations(text: str, ms: int | None) -> None:
    assert parse_duration(text) == ms


def test_a_ttl_may_be_absent_wrong_or_a_point_in_time() -> None:
    assert parse_ttl(None) == (30_000, None)
    assert parse_ttl("soon") == (30_000, None)
    assert parse_ttl(30) == (30_000, None)
    assert parse_ttl("2026-01-02T03:04:05Z") == (30_000, NOW)
    assert context_of("select", ttl="2026-01-02T03:04:35Z").expiry_ms(0) == NOW + 30_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-02T03:04:05Z", NOW),
        ("2026-01-02T03:04:05.000Z", NOW),
        ("2026-01-02T08:34:05+05:30", NOW),
        ("2026-01-02T08:34:05", NOW),
        ("2026:01:02:08:34:05", NOW),
        ("08:34:05", None),
        ("tomorrow", None),
        ("", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_points_in_time(text: str, ms: int | None) -> None:
    assert parse_instant(text) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("08:34:05", NOW), ("08:34:05+05:30", NOW), ("03:04:05Z", NOW), ("08:34", NOW - 5_000), ("late", None)],
)
def test_clock_times_mean_today(text: str, ms: int | None) -> None:
    assert parse_clock(text, NOW) == ms


@given(st.text(max_size=70))
def test_no_text_breaks_the_readers_of_time(text: str) -> None:
    parse_instant(text)
    parse_clock(text, NOW)
    parse_duration(text)
    parse_ttl(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(list(request("select", {})["context"]))


@given(st.dictionaries(MEMBERS, JSON))
def test_no_context_breaks_the_parser(changes: dict[str, object]) -> None:
    with contextlib.suppress(Refusal):
        context_of("select", **changes) if "action" not in changes else parse_context({"context": changes})
