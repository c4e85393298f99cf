"""Registries: one record under many spellings, validity, and a file that changes."""

import json
from pathlib import Path

import pytest

from beckn_adapter.registry import (
    RegistryProblem,
    StaticRegistry,
    read_dedi,
    read_list,
    read_subscription,
)
from beckn_adapter.signing import load_public_key

KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
OTHER_KEY = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="
NOW = 1_767_323_045_000  # 2026-01-02T03:04:05Z


def entry(**changes: object) -> dict[str, object]:
    return {
        "subscriber_id": "b.example",
        "unique_key_id": "k1",
        "signing_public_key": KEY,
        "subscriber_url": "https://b.example/r",
        "type": "bap",
        **changes,
    }


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in entry().items() if key != name}


async def test_a_listed_subscriber_is_found_by_id_and_key() -> None:
    registry = StaticRegistry(read_list(json.dumps([entry()])))
    found = await registry.lookup("b.example", "k1", NOW)
    assert found is not None
    assert (found.signing_public_key, found.kind, found.url) == (load_public_key(KEY), "BAP", "https://b.example/r")
    assert await registry.lookup("b.example", "k2", NOW) is None
    assert await registry.lookup("x.example", "k1", NOW) is None


@pytest.mark.parametrize("name", ["ukId", "unique_key_id", "key_id", "pub_key_id"])
def test_the_key_id_is_read_under_every_name(name: str) -> None:
    assert read_subscription({**without("unique_key_id"), name: "k9"}).key_id == "k9"


def test_the_address_is_read_under_both_names() -> None:
    assert read_subscription({**without("subscriber_url"), "url": "https://u"}).url == "https://u"


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({}, True),
        ({"status": "SUBSCRIBED"}, True),
        ({"status": "EXPIRED"}, False),
        ({"status": "UNDER_SUBSCRIPTION"}, False),
        ({"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-12-31T00:00:00Z"}, True),
        ({"valid_from": "2026-01-03T00:00:00Z"}, False),
        ({"valid_until": "2026-01-01T00:00:00.000Z"}, False),
    ],
)
async def test_only_a_subscription_in_force_is_believed(changes: dict[str, object], usable: bool) -> None:
    registry = StaticRegistry([read_subscription(entry(**changes))])
    assert (await registry.lookup("b.example", "k1", NOW) is not None) is usable


async def test_one_participant_in_two_domains_is_found_through_the_one_in_force() -> None:
    registry = StaticRegistry(read_list(json.dumps([entry(status="EXPIRED", domain="a"), entry(domain="b")])))
    found = await registry.lookup("b.example", "k1", NOW)
    assert found is not None
    assert found.domain == "b"


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (without("signing_public_key"), "signing_public_key"),
        (entry(signing_public_key="AAAA"), "signing_public_key"),
        (without("subscriber_id"), "subscriber_id"),
        (without("unique_key_id"), "key id"),
        (entry(valid_until="whenever"), "valid_until"),
    ],
)
def test_a_record_that_cannot_be_used_names_the_member(record: dict[str, object], names: str) -> None:
    with pytest.raises(RegistryProblem, match=names):
        read_subscription(record)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", "[" * 100_000])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RegistryProblem):
        read_list(text)


def test_one_key_id_cannot_mean_two_keys() -> None:
    with pytest.raises(RegistryProblem, match="two keys"):
        StaticRegistry(read_list(json.dumps([entry(), entry(signing_public_key=OTHER_KEY)])))


async def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "registry.json"
    file.write_text(json.dumps([entry()]))
    registry = StaticRegistry.open(file)
    assert registry.reload_if_changed(1)
    assert not registry.reload_if_changed(1)
    file.write_text(json.dumps([entry(unique_key_id="k2")]))
    assert registry.reload_if_changed(2)
    assert await registry.lookup("b.example", "k1", NOW) is None
    assert await registry.lookup("b.example", "k2", NOW) is not None
    file.write_text("[")
    with pytest.raises(RegistryProblem):
        registry.reload_if_changed(3)
    assert await registry.lookup("b.example", "k2", NOW) is not None
    assert len(registry) == 1
    with pytest.raises(RegistryProblem):
        StaticRegistry.open(tmp_path / "absent.json")


def dedi(**data: object) -> dict[str, object]:
    details = {"url": "https://b.example", "type": "BAP", "subscriber_id": "b.example", "signing_public_key": KEY}
    return {"data": {"details": details, "parent_namespaces": ["net.example"], **data}}


def test_a_dedi_answer_becomes_a_subscriber() -> None:
    found = read_dedi(dedi(), "b.example", "k1", frozenset({"net.example"}))
    assert (found.subscriber_id, found.key_id, found.kind) == ("b.example", "k1", "BAP")


@pytest.mark.parametrize(
    "answer",
    [{}, {"data": 1}, dedi(is_revoked=True), dedi(parent_namespaces=["other"]), dedi(parent_namespaces=None)],
)
def test_a_dedi_answer_that_may_not_be_trusted_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(RegistryProblem):
        read_dedi(answer, "b.example", "k1", frozenset({"net.example"}))


def test_a_dedi_answer_about_somebody_else_is_refused() -> None:
    with pytest.raises(RegistryProblem, match="another"):
        read_dedi(dedi(), "c.example", "k1")
