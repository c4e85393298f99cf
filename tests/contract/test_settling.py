"""The follower that moves money: one order that cannot be settled keeps no other from it."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Opener

from csms.app.settling import Settling, SettlingRules
from csms.bus.inprocess import InProcessBell
from csms.ports import Fact, StoreDown


class Clock:
    def now_ms(self) -> int:
        return 0


def settling(store: Any) -> Settling:
    unused: Any = None
    return Settling(
        store=store,
        inventory=unused,
        payments=unused,
        clock=Clock(),
        ids=unused,
        bell=InProcessBell(),
        rules=SettlingRules(),
    )


FACTS = [Fact("SessionStarted", n, {}, order_id=order) for n, order in enumerate("abcab", 1)]


async def test_one_that_is_stuck_holds_up_only_itself(open_store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str | None, int]] = []

    def on_fact(tx: Any, fact: Fact, now_ms: int) -> None:
        if fact.order_id == "b":
            raise ValueError("it was settled differently")
        done.append((fact.order_id, fact.at_ms))

    async with open_store() as store:
        follower = settling(store)
        monkeypatch.setattr(follower, "_on_fact", on_fact)
        with pytest.raises(ValueError, match="differently"):
            await follower.on_facts(FACTS)
    assert done[-3:] == [("a", 1), ("c", 3), ("a", 4)]


async def test_a_disk_that_fails_is_not_taken_for_an_orders_fault(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def on_fact(tx: Any, fact: Fact, now_ms: int) -> None:
        asked.append(fact.at_ms)
        raise StoreDown("disk full") if len(asked) > 1 else ValueError("the batch")

    async with open_store() as store:
        follower = settling(store)
        monkeypatch.setattr(follower, "_on_fact", on_fact)
        with pytest.raises(StoreDown):
            await follower.on_facts(FACTS)
    assert asked == [1, 1]
