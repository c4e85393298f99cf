"""What is remembered of a registry's answers (BECKN 3.3), and the two registries on the network, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from beckn_shop import identity

from beckn_adapter.keycache import MAX_ENTRIES, KeyCache
from beckn_adapter.outbound import Outbound
from beckn_adapter.registries import DediRegistry, LookupRegistry
from beckn_adapter.registry import RegistryDown, Subscriber
from simulators.registry import RegistryServer
from simulators.signing import registry_entry

NOW = 1_767_323_045_000
MINUTE = 60_000
KEY = bytes(range(32))
BUYER = Subscriber("b.example", "k1", KEY, "https://b.example/r", "BAP")


class Scripted:
    """A source that says what it was told to say."""

    def __init__(self, *listed: Subscriber) -> None:
        self.listed: Sequence[Subscriber] = listed
        self.asked = 0
        self.is_down = False
        self.gate: asyncio.Event | None = None

    async def fetch(self, subscriber_id: str, key_id: str, now_ms: int) -> Sequence[Subscriber]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise RegistryDown("the registry is down")
        return [one for one in self.listed if (one.subscriber_id, one.key_id) == (subscriber_id, key_id)]


async def test_a_key_is_asked_for_once_in_ten_minutes() -> None:
    source = Scripted(BUYER)
    cache = KeyCache(source)
    for at_ms in (NOW, NOW + 9 * MINUTE, NOW + 9 * MINUTE + 59_999):
        assert await cache.lookup("b.example", "k1", at_ms) == BUYER
    assert source.asked == 1
    assert await cache.lookup("b.example", "k1", NOW + 10 * MINUTE) == BUYER
    assert source.asked == 2


async def test_a_key_is_never_believed_past_its_validity() -> None:
    source = Scripted(replace(BUYER, valid_until_ms=NOW + MINUTE))
    cache = KeyCache(source)
    assert await cache.lookup("b.example", "k1", NOW) is not None
    assert await cache.lookup("b.example", "k1", NOW + MINUTE + 1) is None
    source.is_down = True
    with pytest.raises(RegistryDown):
        await cache.lookup("b.example", "k1", NOW + 2 * MINUTE)


async def test_nobody_is_asked_for_again_within_half_a_minute() -> None:
    source = Scripted()
    cache = KeyCache(source)
    assert await cache.lookup("b.example", "k1", NOW) is None
    source.listed = [BUYER]
    assert await cache.lookup("b.example", "k1", NOW + 29_999) is None
    assert source.asked == 1
    assert await cache.lookup("b.example", "k1", NOW + 30_000) == BUYER


async def test_many_who_ask_at_once_are_one_question() -> None:
    source = Scripted(BUYER)
    source.gate = asyncio.Event()
    cache = KeyCache(source)
    asking = [asyncio.create_task(cache.lookup("b.example", "k1", NOW)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # the first one hangs up: the others are answered all the same
    await asyncio.sleep(0)
    source.gate.set()
    assert await asyncio.gather(*asking[1:]) == [BUYER] * 49
    assert source.asked == 1


async def test_a_replaced_key_is_found_but_not_asked_for_by_every_forger() -> None:
    source = Scripted(BUYER)
    cache = KeyCache(source)
    await cache.lookup("b.example", "k1", NOW)
    rotated = replace(BUYER, signing_public_key=bytes(32))
    source.listed = [rotated]
    assert await cache.lookup("b.example", "k1", NOW + 29_000, fresh=True) == BUYER
    assert source.asked == 1
    assert await cache.lookup("b.example", "k1", NOW + 30_000, fresh=True) == rotated
    assert await cache.lookup("b.example", "k1", NOW + 31_000) == rotated
    assert source.asked == 2


async def test_a_revoked_key_is_gone_when_it_is_asked_for_again() -> None:
    source = Scripted(BUYER)
    cache = KeyCache(source)
    await cache.lookup("b.example", "k1", NOW)
    source.listed = [replace(BUYER, status="EXPIRED")]
    assert await cache.lookup("b.example", "k1", NOW + 11 * MINUTE) is None
    source.is_down = True
    with pytest.raises(RegistryDown):  # what was taken back is not stale, it is wrong
        await cache.lookup("b.example", "k1", NOW + 12 * MINUTE)


async def test_while_the_registry_is_down_known_keys_hold_for_an_hour_and_no_longer() -> None:
    source = Scripted(BUYER)
    cache = KeyCache(source, stale_s=3600)
    await cache.lookup("b.example", "k1", NOW)
    source.is_down = True
    assert await cache.lookup("b.example", "k1", NOW + 69 * MINUTE) == BUYER
    with pytest.raises(RegistryDown):
        await cache.lookup("b.example", "k1", NOW + 70 * MINUTE)
    with pytest.raises(RegistryDown):
        await cache.lookup("stranger.example", "k1", NOW)
    strict = KeyCache(source, stale_s=0)
    with pytest.raises(RegistryDown):
        await strict.lookup("b.example", "k1", NOW)


async def test_a_registry_that_is_down_is_not_hammered() -> None:
    source = Scripted(BUYER)
    source.is_down = True
    cache = KeyCache(source)
    for _ in range(20):
        with pytest.raises(RegistryDown):
            await cache.lookup("b.example", "k1", NOW)
    assert source.asked == 1
    source.is_down = False
    assert await cache.lookup("b.example", "k1", NOW + 2_000) == BUYER


async def test_strangers_cannot_fill_the_memory_or_push_out_those_we_know() -> None:
    source = Scripted(BUYER)
    cache = KeyCache(source)
    await cache.lookup("b.example", "k1", NOW)
    for number in range(MAX_ENTRIES + 500):
        await cache.lookup(f"s{number}.example", "k1", NOW)
    assert len(cache) <= MAX_ENTRIES + 1
    asked = source.asked
    assert await cache.lookup("b.example", "k1", NOW + 1) == BUYER
    assert source.asked == asked


async def test_too_many_open_questions_are_not_a_verdict_about_the_signer() -> None:
    source = Scripted(BUYER)
    source.gate = asyncio.Event()
    cache = KeyCache(source)
    asking = [asyncio.create_task(cache.lookup(f"s{number}", "k1", NOW)) for number in range(256)]
    await asyncio.sleep(0)
    with pytest.raises(RegistryDown):
        await cache.lookup("one-more", "k1", NOW)
    source.gate.set()
    await asyncio.gather(*asking)
    assert await cache.lookup("b.example", "k1", NOW) == BUYER


# --- over HTTP


ME = identity("b.example", "k/1 ü")


def lookup_at(registry: RegistryServer, outbound: Outbound, url: str | None = None) -> LookupRegistry:
    return LookupRegistry(
        url or registry.lookup_url, outbound=outbound, key_field=registry.key_field,
        authorize=lambda body, _now_s: f"Signature over {len(body)} bytes", timeout_s=2,
    )  # fmt: skip


def dedi_at(registry: RegistryServer, outbound: Outbound, parents: frozenset[str] = frozenset()) -> DediRegistry:
    return DediRegistry(
        registry.dedi_url, outbound=outbound, registry_name="subscribers.beckn.one", allowed_parents=parents,
        timeout_s=2,
    )  # fmt: skip


@pytest.mark.parametrize("key_field", ["ukId", "key_id", "unique_key_id"])
async def test_a_classic_registry_is_asked_under_its_own_field_name_and_signed(key_field: str) -> None:
    outbound = Outbound(timeout_s=2)
    async with RegistryServer(key_field=key_field) as registry:
        registry.list_(registry_entry(ME, "https://b.example/r", "BAP"), registry_entry(identity(), "http://x", "BPP"))
        (found,) = await lookup_at(registry, outbound).fetch("b.example", "k/1 ü", NOW)
        assert (found.url, found.kind) == ("https://b.example/r", "BAP")
        assert await lookup_at(registry, outbound).fetch("b.example", "other", NOW) == []
        assert registry.headers_seen[0]["Authorization"].startswith("Signature over")
        registry.sloppy = True  # a registry that answers with everybody gives nobody another's key
        assert await lookup_at(registry, outbound).fetch("b.example", "other", NOW) == []
        await outbound.close()


async def test_a_dedi_record_is_found_under_escaped_names_and_only_as_itself() -> None:
    outbound = Outbound(timeout_s=2)
    async with RegistryServer() as registry:
        mine = registry_entry(ME, "https://b.example/r", "BAP")
        registry.list_(mine)
        (found,) = await dedi_at(registry, outbound).fetch("b.example", "k/1 ü", NOW)
        assert (found.subscriber_id, found.key_id, found.url) == ("b.example", "k/1 ü", "https://b.example/r")
        before = list(registry.paths)
        assert await dedi_at(registry, outbound).fetch("b.example", "..", NOW) == ()
        assert registry.paths == before  # no such path is asked for
        assert await dedi_at(registry, outbound).fetch("nobody.example", "k", NOW) == ()
        assert await dedi_at(registry, outbound, frozenset({"network.example"})).fetch("b.example", "k/1 ü", NOW)
        assert not await dedi_at(registry, outbound, frozenset({"other.example"})).fetch("b.example", "k/1 ü", NOW)
        for change in ({"is_revoked": True}, {"says_it_is": "c.example"}, {"signing_public_key": "AAAA"}):
            registry.list_({**mine, **change})
            assert await dedi_at(registry, outbound).fetch("b.example", "k/1 ü", NOW) == ()
        await outbound.close()


@pytest.mark.parametrize("kind", ["lookup", "dedi"])
async def test_an_outage_is_told_apart_from_an_unknown_subscriber(kind: str) -> None:
    outbound = Outbound(timeout_s=2)
    async with RegistryServer() as registry, RegistryServer() as elsewhere:
        elsewhere.list_(registry_entry(ME, "https://b.example/r", "BAP"))
        source = lookup_at(registry, outbound) if kind == "lookup" else dedi_at(registry, outbound)
        registry.down = True
        with pytest.raises(RegistryDown):
            await source.fetch("b.example", "k/1 ü", NOW)
        registry.down, registry.redirect_to = False, elsewhere.url
        with pytest.raises(RegistryDown):
            await source.fetch("b.example", "k/1 ü", NOW)
        assert elsewhere.paths == []  # a redirect is never followed
    with pytest.raises(RegistryDown):  # nobody listens there any more
        await source.fetch("b.example", "k/1 ü", NOW)
    await outbound.close()
