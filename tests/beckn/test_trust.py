"""Who is believed: a replaced key, gateways that must be there, adapters' secrets, and where callbacks may go."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import pytest
from beckn_shop import identity
from test_calling_out import context, listed, listening

from beckn_adapter import signing
from beckn_adapter.envelope import Outcome
from beckn_adapter.outbound import Outbound
from beckn_adapter.posting import Poster
from beckn_adapter.registry import Subscriber
from beckn_adapter.signing import ProblemKind, SignatureProblem
from beckn_adapter.trust import Binding, Caller, Headers, SharedKey, SharedSecret, Signatures
from simulators.signing import sign

NOW = 1_767_323_045
ME = identity("b.example", "k1")
RAW = b'{"a":1}'


class Sent:
    """Headers as they come."""

    def __init__(self, **headers: str) -> None:
        self._headers = {name.lower().replace("_", "-"): value for name, value in headers.items()}

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        value = self._headers.get(name.lower())
        return default if value is None else [value]


class Rotating:
    """A registry whose answer changes when it is asked afresh."""

    def __init__(self, *keys: bytes) -> None:
        self._keys = list(keys)
        self.fresh = 0

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int, *, fresh: bool = False) -> Subscriber | None:
        if fresh:
            self.fresh += 1
            self._keys = self._keys[1:] or self._keys
        return Subscriber(subscriber_id, key_id, self._keys[0], "https://b.example/r", "BAP")


def public(one: Any) -> bytes:
    return signing.load_public_key(one.public_key)


async def identify(registry: Rotating, header: str) -> Caller:
    return await Signatures(registry, ahead_s=10, behind_s=5).identify(Sent(authorization=header), RAW, NOW * 1000)


async def test_a_key_replaced_under_its_old_id_is_asked_for_once_more() -> None:
    registry = Rotating(public(identity()), public(ME))
    caller = await identify(registry, sign(ME, RAW, NOW))
    assert caller.signer is not None
    assert registry.fresh == 1


async def test_a_forger_is_refused_after_one_more_look() -> None:
    registry = Rotating(public(ME))
    with pytest.raises(SignatureProblem):
        await identify(registry, sign(identity("b.example", "k1"), RAW, NOW))
    assert registry.fresh == 1
    # A signature that is only too old needs no second look.
    with pytest.raises(SignatureProblem) as told:
        await identify(registry, sign(ME, RAW, NOW - 1000))
    assert told.value.kind is ProblemKind.EXPIRED
    assert registry.fresh == 1


def test_where_the_network_demands_it_a_search_comes_through_a_gateway() -> None:
    binding = Binding(Outbound(timeout_s=1), gateway_required=True)
    search = dataclasses.replace(context("https://bap.example/x"), action="search")
    signer, gateway = listed("https://bap.example/x"), listed("https://bg.example", "BG")
    binding.check(search, Caller(signer, gateway))
    binding.check(context("https://bap.example/x"), Caller(signer))  # a select comes directly
    with pytest.raises(SignatureProblem) as told:
        binding.check(search, Caller(signer))
    assert (told.value.kind, told.value.is_gateway) == (ProblemKind.MISSING, True)


async def test_a_shared_secret_and_the_signature_behind_it_must_both_hold() -> None:
    signatures = Signatures(Rotating(public(ME)), ahead_s=10, behind_s=5)
    keeper = SharedSecret("X-Secret", "s3cret", signatures)
    good = sign(ME, RAW, NOW)
    caller = await keeper.identify(Sent(x_secret="s3cret", authorization=good), RAW, NOW * 1000)
    assert caller.signer is not None
    wrong: list[Headers] = [
        Sent(authorization=good),
        Sent(x_secret="", authorization=good),
        Sent(x_secret="S3cret", authorization=good),
        Sent(x_secret="s3cret"),
        Sent(x_secret="s3cret", authorization=sign(ME, RAW + b" ", NOW)),
        Sent(x_secret="s3cret\udcff", authorization=good),
    ]
    for headers in wrong:
        with pytest.raises(SignatureProblem):
            await keeper.identify(headers, RAW, NOW * 1000)


async def test_an_hmac_is_compared_in_any_spelling_of_its_hex_and_with_no_other_key() -> None:
    keeper = SharedKey("key")
    good = hmac.new(b"key", RAW, hashlib.sha256).hexdigest()
    for value in (f"HMAC-SHA-256 {good}", f"hmac-sha-256  {good.upper()}"):
        assert await keeper.identify(Sent(authorization=value), RAW, 0) == Caller()
    named = (good[:-1], f"{good}0", "\udcff")
    for value in ("", good, f"Basic {good}", *(f"HMAC-SHA-256 {hexes}" for hexes in named)):
        with pytest.raises(SignatureProblem):
            await keeper.identify(Sent(authorization=value), RAW, 0)


# --- where a callback goes


class Homes:
    """A store that knows where participants are at home."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows

    async def read(self, query: Any) -> Any:
        return query(self)

    def many(self, table: Any, **where: Any) -> list[dict[str, Any]]:
        return [row for row in self.rows if all(row[name] == value for name, value in where.items())]


async def test_a_callback_reaches_a_private_host_only_when_it_is_the_buyers_or_a_gateways_home() -> None:
    outbound = Outbound(timeout_s=3)
    async with listening() as (port, came):
        home = f"http://127.0.0.1:{port}"
        row = {"url": f"{home}/on_x", "bap_id": "b.example", "body": b"{}", "action": "on_x"}

        async def post(*homes: dict[str, Any]) -> tuple[Outcome, str | None]:
            poster = Poster(store=Homes(*homes), outbound=outbound, now_ms=lambda: 0, authorize=None)  # type: ignore[arg-type]
            answer, note = await poster.post(row)
            return answer.outcome, note

        mine = {"subscriber_id": "b.example", "kind": "BAP", "url": f"{home}/r"}
        outcome, note = await post()
        assert outcome is Outcome.RETRY
        assert "private address" in (note or "")
        for foreign in ({**mine, "subscriber_id": "c.example"}, {**mine, "url": "https://b.example/r"}):
            assert (await post(foreign))[0] is Outcome.RETRY
        assert came == []
        assert (await post(mine))[0] is Outcome.ACK
        assert (await post({**mine, "subscriber_id": "bg.example", "kind": "BG"}))[0] is Outcome.ACK
        assert came == ["/on_x", "/on_x"]
    await outbound.close()


async def test_a_redirect_is_not_followed_and_not_an_acknowledgement() -> None:
    outbound = Outbound(timeout_s=3, private=True)
    async with listening() as (port, came):
        row = {"url": f"http://127.0.0.1:{port}/away", "bap_id": "b", "body": b"{}", "action": "on_x"}
        poster = Poster(store=Homes(), outbound=outbound, now_ms=lambda: 0, authorize=None)  # type: ignore[arg-type]
        answer, _ = await poster.post(row)
        assert answer.outcome is Outcome.NACK
        await asyncio.sleep(0)
        assert came == ["/away"]
    await outbound.close()
