"""Looking at Basic passwords is dear: what strangers can make us pay for it."""

from __future__ import annotations

import asyncio

import pytest

from csms.edges.gate import Busy, Passwords

RIGHT, WRONG = b"the-right-password-01", b"a-wrong-password-0001"


class World:
    """Passwords by a clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.passwords = Passwords(lambda: self.now_s)

    async def says(self, stored: str, password: bytes) -> bool | None:
        """None: it is not looked at now."""
        try:
            return await self.passwords.fits(stored, [password])
        except Busy:
            return None


async def test_one_charger_has_one_look_at_a_time() -> None:
    world = World()
    stored, other = await world.passwords.hash(RIGHT.decode()), await world.passwords.hash("the-other-password-01")
    said = await asyncio.gather(
        *(world.says(stored, WRONG) for _ in range(20)), world.says(other, b"the-other-password-01")
    )
    assert said == [False, *[None] * 19, True]


async def test_only_so_many_looks_wait_in_all() -> None:
    world = World()
    said = await asyncio.gather(*(world.says(f"no hash at all {number}", WRONG) for number in range(80)))
    assert said == [False] * 50 + [None] * 30


async def test_who_is_often_wrong_waits_between_two_looks_and_gets_in_all_the_same() -> None:
    world = World()
    stored = await world.passwords.hash(RIGHT.decode())
    assert [await world.says(stored, WRONG) for _ in range(7)] == [False] * 5 + [None] * 2
    assert await world.says(stored, RIGHT) is None
    world.now_s += 2
    assert await world.says(stored, RIGHT) is True
    # What fitted once is remembered: from now on a look costs nothing, and nobody waits.
    assert [await world.says(stored, WRONG) for _ in range(20)] == [False] * 20
    assert await world.says(stored, RIGHT) is True


@pytest.mark.parametrize("stored", ["", "nonsense", "$argon2id$v=19$m=1"])
async def test_a_hash_that_is_none_fits_nothing(stored: str) -> None:
    assert await World().says(stored, RIGHT) is False


async def test_a_password_made_by_chance_costs_no_look_however_many_ask() -> None:
    world = World()
    stored = world.passwords.digest("00112233445566778899aabbccddeeff")
    assert "00112233" not in stored
    assert stored != world.passwords.digest("00112233445566778899aabbccddeeff")
    said = await asyncio.gather(*(world.says(stored, WRONG) for _ in range(100)))
    assert said == [False] * 100
    assert await world.says(stored, b"00112233445566778899aabbccddeeff") is True
    assert await world.passwords.fits(stored, [WRONG, b"00112233445566778899aabbccddeeff"])
