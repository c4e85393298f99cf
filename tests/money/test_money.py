"""Thousands of random purchases, and the money of each of them (SESSIONS 5.9): `make money STORIES=5000` for many."""

from __future__ import annotations

import os
import random
from decimal import Decimal
from pathlib import Path

import pytest
from money_stories import Teller, Told, check, plan
from money_world import World

from csms.domain.taxes import Registration, TaxEntry

STORIES = int(os.environ.get("CSMS_STORIES", "160"))
CHUNK = 40
TAXES = TaxEntry(
    valid_from_ms=0,
    seller="Test CPO",
    registrations=(Registration(state="29", address="1 Main Road", gstin="29AAPFU0939F1ZR"),),
    rate_percent=Decimal(18),
)
FIRST = int(os.environ.get("CSMS_FIRST_STORY", "0"))


async def told_in(folder: Path, seeds: range, *, doubled: bool) -> list[Told]:
    world = World(folder, seed=seeds.start, doubled=doubled)
    await world.open()
    await world.system.books.set_taxes([TAXES], "test")
    told = []
    try:
        for seed in seeds:
            told.append(await Teller(world, seed, plan(random.Random(seed))).tell())
    finally:
        await world.close()
    return told


@pytest.mark.parametrize("first", range(FIRST, FIRST + STORIES, CHUNK))
@pytest.mark.timeout(600)
async def test_the_books_close_and_saying_everything_twice_changes_nothing(tmp_path: Path, first: int) -> None:
    seeds = range(first, min(first + CHUNK, FIRST + STORIES))
    once = await told_in(tmp_path / "once", seeds, doubled=False)
    twice = await told_in(tmp_path / "twice", seeds, doubled=True)
    for seed, one, two in zip(seeds, once, twice, strict=True):
        where = f"story {seed}: {one.plan}"
        try:
            check(one)
            check(two)
        except AssertionError as problem:
            problem.add_note(where)
            raise
        assert one.essence() == two.essence(), where
    fates = {(one.plan.fate, one.order.state) for one in once if one.order is not None}
    assert len(fates) > 1, f"these stories are all alike: {fates}"
