"""The promises every endpoint keeps: who may ask, how errors look, that writes count once, that it is described."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from pathlib import Path

import pytest
from apiworld import KEY, NOW_MS, Client, World, station_row

from csms.api.problems import KINDS
from csms.api.server import OPERATIONS, openapi_document
from csms.domain.refusal import Refusal, Why
from csms.ports import StoreDown, Table

# SURFACES 4, row by row.
PROMISED = """
GET /api/v1/chargers
POST /api/v1/chargers
GET /api/v1/chargers/{id}
PATCH /api/v1/chargers/{id}
DELETE /api/v1/chargers/{id}
POST /api/v1/chargers/{id}/ocpp/{Action}
GET /api/v1/chargers/{id}/frames
POST /api/v1/chargers/{id}/commands/start
POST /api/v1/chargers/{id}/commands/stop
POST /api/v1/chargers/{id}/commands/unlock
POST /api/v1/chargers/{id}/commands/reset
POST /api/v1/chargers/{id}/commands/availability
POST /api/v1/chargers/{id}/commands/trigger
POST /api/v1/chargers/{id}/commands/limit
GET /api/v1/instructions/{id}
GET /api/v1/sessions
GET /api/v1/sessions/{id}
GET /api/v1/sessions/{id}/samples
GET /api/v1/sessions/{id}/revisions
POST /api/v1/sessions/{id}/close
GET /api/v1/tokens/{uid}
PUT /api/v1/tokens/{uid}
DELETE /api/v1/tokens/{uid}
GET /api/v1/vehicles
GET /api/v1/vehicles/{id}
PUT /api/v1/vehicles/{id}
DELETE /api/v1/vehicles/{id}
GET /api/v1/chargers/{id}/local-list
PUT /api/v1/chargers/{id}/local-list
POST /api/v1/chargers/{id}/local-list/sync
GET /api/v1/reservations
POST /api/v1/reservations
DELETE /api/v1/reservations/{id}
GET /api/v1/charging-profiles
GET /api/v1/charging-profiles/{id}
PUT /api/v1/charging-profiles/{id}
DELETE /api/v1/charging-profiles/{id}
POST /api/v1/chargers/{id}/credentials
GET /api/v1/locations/{id}
PUT /api/v1/locations/{id}
GET /api/v1/tariffs/{id}
PUT /api/v1/tariffs/{id}
GET /api/v1/offers/{id}
PUT /api/v1/offers/{id}
GET /api/v1/orders
GET /api/v1/orders/{id}
GET /api/v1/orders/{id}/ledger
GET /api/v1/cases
POST /api/v1/cases/{id}/resolve
GET /api/v1/events
GET /api/v1/cdrs
GET /healthz
GET /readyz
GET /metrics
GET /version
"""


def test_every_promised_route_is_described() -> None:
    paths = openapi_document("1")["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(PROMISED.strip().splitlines()) <= described


def test_every_reference_of_the_description_resolves_and_every_operation_has_its_own_id() -> None:
    document = openapi_document("1")
    assert document["openapi"].startswith("3.1")

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for value in node for ref in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert found
    for ref in found:
        node = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
    assert "$defs" not in str(document)
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert "default" in operation["responses"]


async def test_the_description_and_the_documentation_page_come_from_here_alone(api: Client) -> None:
    described = await api("GET", "/openapi.json", key=None)
    assert described.status == 200
    assert described.body == openapi_document("1.2.3")
    page = await api("GET", "/api/docs", key=None)
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in re.sub(r"<!doctype html>", "", page.text)  # no address of another host
    assert "<script>" not in page.text
    for name in re.findall(r'(?:href|src)="(docs/[^"]+)"', page.text):
        file = await api("GET", f"/api/{name}", key=None)
        assert file.status == 200
    assert (await api("GET", "/api/docs/", key=None)).status == 302
    assert (await api("GET", "/api/docs/server.py", key=None)).status == 404


def test_the_vendored_files_are_the_ones_that_were_taken(root: Path) -> None:
    folder = root / "csms/api/static/swagger-ui"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    assert set(listed) | {"SHA256SUMS", "README.md"} == {path.name for path in folder.iterdir()}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


# -- who may ask


async def test_nothing_is_told_without_a_key(api: Client) -> None:
    guarded = [op for op in OPERATIONS if op.scope != "open"]
    assert {op.path for op in OPERATIONS} - {op.path for op in guarded} == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/version",
        "/problems/{slug}",
    }
    for op in guarded:
        reply = await api(op.method, re.sub(r"{\w+}", "1", op.path), {}, key=None)
        assert reply.status == 401, op
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert reply.headers["Content-Type"].startswith("application/problem+json")
        assert reply.body["type"] == "/problems/unauthenticated"


async def test_a_wrong_key_is_no_key(api: Client) -> None:
    for header in ("Bearer wrong", "Bearer", f"Basic {KEY}", "", "Bearer é", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"):
        headers = {"Authorization": header}
        assert (await api("GET", "/api/v1/chargers", key=None, headers=headers)).status == 401
    assert (await api("GET", "/api/v1/chargers", key=None, headers={"Authorization": f"bearer {KEY}"})).status == 200


async def test_health_readiness_metrics_and_version_need_no_key(api: Client, world: World) -> None:
    assert (await api("GET", "/healthz", key=None)).body == {"status": "ok"}
    assert (await api("GET", "/version", key=None)).body == {"version": "1.2.3", "node": "node-a"}
    metrics = await api("GET", "/metrics", key=None)
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert "csms_links 1.0" in metrics.text
    ready = await api("GET", "/readyz", key=None)
    assert (ready.status, ready.body["status"]) == (200, "ready")
    world.checks["mqtt"] = (False, "no broker answers")
    ready = await api("GET", "/readyz", key=None)
    assert ready.status == 503
    assert ready.body["checks"]["mqtt"] == {"ok": False, "detail": "no broker answers"}


async def test_a_made_key_works_within_its_scopes_until_it_is_revoked(api: Client, world: World) -> None:
    made = await api("POST", "/api/v1/api-keys", {"name": "till", "scopes": ["read"]})
    assert made.status == 201
    key = made.body["key"]
    assert (await api("GET", "/api/v1/chargers", key=key)).status == 200
    denied = await api("POST", "/api/v1/chargers", {"id": "CP1"}, key=key)
    assert (denied.status, denied.body["type"]) == (403, "/problems/forbidden")
    assert (await api("GET", "/api/v1/api-keys", key=key)).status == 403
    listed = (await api("GET", "/api/v1/api-keys")).body["items"]
    assert [(one["name"], "key" in one) for one in listed] == [("till", False)]
    stored = await world.store.read(lambda tx: tx.many(Table.API_KEYS))
    assert key not in str(stored)
    assert (await api("DELETE", f"/api/v1/api-keys/{made.body['id']}")).status == 204
    assert (await api("GET", "/api/v1/chargers", key=key)).status == 401


async def test_an_empty_bootstrap_key_lets_nobody_in(
    api: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "bootstrap_key", "")
    assert (await api("GET", "/api/v1/chargers", key="")).status == 401


# -- how errors look


NOT_THERE = {
    "/api/v1/chargers/nobody": "unknown-charger",
    "/api/v1/chargers/nobody/frames": "unknown-charger",
    "/api/v1/chargers/nobody/samples": "unknown-charger",
    "/api/v1/sessions/none": "unknown-session",
    "/api/v1/sessions/none/samples": "unknown-session",
    "/api/v1/sessions/none/revisions": "unknown-session",
    "/api/v1/orders/none": "unknown-order",
    "/api/v1/orders/none/ledger": "unknown-order",
    "/api/v1/instructions/none": "unknown-instruction",
    "/api/v1/tokens/none": "unknown-target",
    "/api/v1/reservations/7": "unknown-target",
    "/api/v1/charging-profiles/7": "unknown-target",
    "/api/v1/locations/none": "unknown-target",
    "/api/v1/cases/none": "unknown-target",
    "/api/v1/nothing": "not-found",
}


async def test_what_is_not_there_is_a_404_problem(api: Client) -> None:
    for path, type_ in NOT_THERE.items():
        reply = await api("GET", path)
        assert reply.status == 404, path
        assert reply.headers["Content-Type"].startswith("application/problem+json")
        assert reply.body["type"] == f"/problems/{type_}"
        assert reply.body["status"] == 404
        assert reply.body["detail"]
        assert (await api("GET", reply.body["type"], key=None)).body["title"] == reply.body["title"]


async def test_an_unknown_member_is_named(api: Client) -> None:
    reply = await api("POST", "/api/v1/chargers", {"id": "CP1", "colour": "red"})
    assert reply.status == 422
    assert reply.body["type"] == "/problems/invalid-request"
    assert reply.body["errors"] == [
        {"where": "body", "path": "/colour", "detail": "The member '/colour' is not known here."}
    ]


async def test_an_unknown_parameter_is_named_and_an_empty_one_asks_for_nothing(api: Client) -> None:
    reply = await api("GET", "/api/v1/sessions?charger=CP1")
    assert reply.status == 422
    assert reply.body["errors"][0]["path"] == "charger"
    assert (await api("GET", "/api/v1/sessions?charger_id=&token=&open=&transaction_id=")).status == 200
    assert (await api("GET", "/api/v1/sessions?open=perhaps")).status == 422
    assert (await api("GET", "/api/v1/sessions?limit=1&limit=2")).status == 422


async def test_a_body_that_is_no_json_object_is_a_422_problem(api: Client) -> None:
    for raw in (b"{", b'{"id": NaN}', b'{"id": 1e999}', b"[]", b'"CP1"', b"\xff", b"[" * 100_000, b'{"id": "\\ud800"}'):
        reply = await api("POST", "/api/v1/chargers", raw=raw)
        assert reply.status == 422, raw[:20]
        assert reply.body["type"] == "/problems/invalid-request"


async def test_types_are_not_bent_and_secrets_are_not_repeated(api: Client) -> None:
    reply = await api("POST", "/api/v1/chargers", {"id": "CP1", "security_profile": "1", "password": "hunter2\n"})
    assert reply.status == 422
    assert {fault["path"] for fault in reply.body["errors"]} == {"/security_profile", "/password"}
    assert "hunter2" not in reply.text


async def test_a_foreign_cursor_is_refused(api: Client) -> None:
    for cursor in ("%21", "e30", "MTI", "W10", "AAAA", "9" * 40):
        reply = await api("GET", f"/api/v1/chargers?cursor={cursor}")
        assert (reply.status, reply.body["type"]) == (422, "/problems/bad-cursor")
    beyond = base64.urlsafe_b64encode(str(2**70).encode()).decode().rstrip("=")
    for path in ("/api/v1/sessions", "/api/v1/charging-profiles", "/api/v1/orders"):
        assert (await api("GET", f"{path}?cursor={beyond}")).status == 422


async def test_a_method_that_is_not_there_names_those_that_are(api: Client) -> None:
    reply = await api("PUT", "/api/v1/chargers", {})
    assert (reply.status, reply.body["type"]) == (405, "/problems/method-not-allowed")
    assert reply.headers["Allow"] == "GET, POST"


async def test_a_body_beyond_the_limit_is_a_413_problem(api: Client) -> None:
    reply = await api("POST", "/api/v1/chargers", raw=b" " * (1024 * 1024 + 1))
    assert (reply.status, reply.body["type"]) == (413, "/problems/too-large")


def test_every_reason_to_say_no_has_a_problem_type() -> None:
    assert set(KINDS) == set(Why)
    assert {kind.status for kind in KINDS.values()} == {404, 409, 422, 429}


async def test_a_refusal_keeps_its_reason_and_its_sentence(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    world.instructing.refusal = Refusal(Why.STATION_OFFLINE, "CP1 is offline since yesterday.")
    reply = await api("POST", "/api/v1/chargers/CP1/commands/clear_cache")
    assert (reply.status, reply.body["type"]) == (409, "/problems/station-offline")
    assert reply.body["detail"] == "CP1 is offline since yesterday."


async def test_a_bug_says_nothing_about_the_inside(
    api: Client, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    world.instructing.bug = RuntimeError("the inner secret")
    reply = await api("POST", "/api/v1/chargers/CP1/commands/clear_cache")
    assert (reply.status, reply.body["type"]) == (500, "/problems/internal-error")
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    out, err = capsys.readouterr()
    assert (out + err).count("api.bug") == 1


async def test_a_store_that_is_down_is_a_503(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    world.instructing.bug = StoreDown("disk full at /secret")
    reply = await api("POST", "/api/v1/chargers/CP1/commands/clear_cache")
    assert (reply.status, reply.body["type"]) == (503, "/problems/store-unavailable")
    assert "/secret" not in reply.text


# -- writes count once


async def test_a_repeated_write_gets_the_first_answer_and_has_no_second_effect(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    headers = {"Idempotency-Key": "k1"}
    body = {"hard": True}
    first = await api("POST", "/api/v1/chargers/CP1/commands/reset", body, headers=headers)
    again = await api("POST", "/api/v1/chargers/CP1/commands/reset", body, headers=headers)
    assert (first.status, again.status) == (202, 202)
    assert first.body == again.body
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(world.instructing.issued) == 1
    assert world.instructing.issued[0][3]  # the use case hears of the key, too


async def test_the_same_key_with_another_body_is_refused(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    headers = {"Idempotency-Key": "k1"}
    await api("POST", "/api/v1/chargers/CP1/commands/reset", {"hard": True}, headers=headers)
    other = await api("POST", "/api/v1/chargers/CP1/commands/reset", {"hard": False}, headers=headers)
    assert (other.status, other.body["type"]) == (409, "/problems/idempotency-key-reused")
    elsewhere = await api("POST", "/api/v1/chargers/CP1/commands/clear_cache", headers=headers)
    assert elsewhere.status == 202  # the key belongs to its route
    assert len(world.instructing.issued) == 2


async def test_a_refused_write_leaves_its_key_free(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    headers = {"Idempotency-Key": "k1"}
    world.instructing.refusal = Refusal(Why.STATION_OFFLINE, "CP1 is offline.")
    assert (await api("POST", "/api/v1/chargers/CP1/commands/clear_cache", headers=headers)).status == 409
    world.instructing.refusal = None
    assert (await api("POST", "/api/v1/chargers/CP1/commands/clear_cache", headers=headers)).status == 202


async def test_two_at_once_under_one_key_act_once(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    headers = {"Idempotency-Key": "k1"}
    replies = await asyncio.gather(
        *(api("POST", "/api/v1/chargers/CP1/commands/clear_cache", headers=headers) for _ in range(5))
    )
    assert {reply.status for reply in replies} <= {202, 409}
    assert any(reply.status == 202 for reply in replies)
    assert len(world.instructing.issued) == 1


async def test_a_key_left_taken_by_a_dead_process_is_given_free_in_time(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    path, headers = "/api/v1/chargers/CP1/commands/clear_cache", {"Idempotency-Key": "k1"}
    assert (await api("POST", path, headers=headers)).status == 202
    await world.store.transact(lambda tx: tx.change(Table.IDEMPOTENCY, {"status": None, "body": None}, key="k1"))
    busy = await api("POST", path, headers=headers)
    assert (busy.status, busy.body["type"]) == (409, "/problems/idempotency-key-in-use")
    assert busy.headers["Retry-After"]
    world.clock.ms = NOW_MS + 10 * 60_000
    assert (await api("POST", path, headers=headers)).status == 202


async def test_a_secret_is_shown_once_even_to_a_repeat(api: Client, world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await api("POST", "/api/v1/api-keys", {"name": "a", "scopes": ["read"]}, headers=headers)
    again = await api("POST", "/api/v1/api-keys", {"name": "a", "scopes": ["read"]}, headers=headers)
    assert again.body == {**first.body, "key": "***"}
    stored = await world.store.read(lambda tx: tx.many(Table.IDEMPOTENCY))
    assert first.body["key"] not in str(stored)


@pytest.mark.parametrize("key", ["x" * 256, "é"])
async def test_a_key_that_is_no_key_is_a_422(api: Client, key: str) -> None:
    headers = {"Idempotency-Key": key}
    assert (await api("POST", "/api/v1/chargers", {"id": "CP1"}, headers=headers)).status == 422
