"""When chargers are read and compared of our own accord."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from csms.app.provisioning import Standing
from csms.domain.provisioning import State
from csms.edges.provisioning import APPLY, CHECK, INVENTORY, RESET, Provisioner
from csms.ports import Fact

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class House:
    """A steward that notes, a book that says what a test wants."""

    def __init__(self, *, is_auto: bool = False, is_inventory_read: bool = True) -> None:
        self.stations: dict[str, Any] = {}
        self.standing: dict[str, Standing] = {}
        self.wants: dict[str, Any] = {}
        self.wanted: list[tuple[str, str, float]] = []
        self.on: dict[str, Any] = {}
        nothing = SimpleNamespace(read=lambda *_: None)
        self.provisioner = Provisioner(
            book=SimpleNamespace(
                standing=lambda one: self.standing.get(one, Standing()),
                standings=lambda: list(self.standing.items()),
                wanted_of=lambda station: self.wants.get(station.id, {}),
            ),  # type: ignore[arg-type]
            stations=SimpleNamespace(get=self.stations.get),  # type: ignore[arg-type]
            clock=SimpleNamespace(now_ms=lambda: 0),
            steward=SimpleNamespace(errand=self._errand, want=self._want, is_wanted=lambda *_: False),  # type: ignore[arg-type]
            collecting=SimpleNamespace(),  # type: ignore[arg-type]
            triggers=SimpleNamespace(),  # type: ignore[arg-type]
            spawn=lambda _: None,
            is_inventory_read=is_inventory_read,
            is_auto=is_auto,
            check_every_h=24,
        )
        self.provisioner.listen(nothing, nothing)  # type: ignore[arg-type]

    def _errand(self, name: str, _: Any, *, on: Any = None) -> None:
        self.on[name] = on or {}

    def _want(self, station_id: str, name: str, *, in_s: float = 0) -> None:
        self.wanted.append((station_id, name, in_s))

    def add(self, name: str, standing: Standing | None = None, **more: Any) -> None:
        station = {"online": True, "firmware": "1.0", "registration": "Accepted", "boot_ms": 1}
        self.stations[name] = SimpleNamespace(id=name, **{**station, **more})
        if standing is not None:
            self.standing[name] = standing
        self.wants[name] = {"a": "wanted"}

    def calls_for(self, errand: str, kind: str, name: str, at_ms: int = 10, **body: Any) -> bool:
        return bool(self.on[errand][kind](Fact(kind, at_ms, body, station=name)))


async def test_who_was_not_compared_for_a_day_is_asked_and_not_all_in_one_breath() -> None:
    house = House()
    for number in range(4):
        house.add(f"OLD{number}", Standing(checked_ms=0))
    house.add("FRESH", Standing(checked_ms=HOUR_MS))
    house.add("NEVER", Standing())
    house.add("AWAY", Standing(checked_ms=0), online=False)
    house.add("FREE", Standing(checked_ms=0))
    house.wants["FREE"] = {}  # nothing is wanted of it
    await house.provisioner.tick(DAY_MS)
    asked = {name: in_s for name, errand, in_s in house.wanted if errand == CHECK}
    assert set(asked) == {f"OLD{number}" for number in range(4)}
    assert len(set(asked.values())) == 4
    assert max(asked.values()) < 600
    house.wanted.clear()
    await house.provisioner.tick(DAY_MS + 1000)  # once a minute
    assert house.wanted == []


@pytest.mark.parametrize(
    ("standing", "more", "body", "news"),
    [
        (None, {}, {"firmware": "1.0"}, True),
        (Standing(inventory_ms=5, inventory_firmware="1.0"), {}, {"firmware": "1.0"}, False),
        (Standing(inventory_ms=5, inventory_firmware="1.0"), {"firmware": "1.1"}, {"firmware": "1.1"}, True),
        (Standing(inventory_ms=5, inventory_firmware="1.1"), {"firmware": "1.1"}, {"firmware": "1.0"}, False),
        (Standing(inventory_ms=5, inventory_firmware="1.0"), {"firmware": "1.1"}, {"firmware": "1.0"}, False),
        (Standing(inventory_ms=5, inventory_firmware="1.0"), {}, {}, False),
        (Standing(inventory_ms=5, inventory_firmware="1.0"), {}, {"firmware": "1.0", "swapped": True}, True),
        (Standing(inventory_ms=15, inventory_firmware="1.0"), {}, {"firmware": "1.0", "swapped": True}, False),
        (None, {"registration": "Rejected"}, {"firmware": "1.0"}, False),
    ],
)
def test_which_boots_call_for_an_inventory(
    standing: Standing | None, more: dict[str, Any], body: dict[str, Any], news: bool
) -> None:
    house = House()
    house.add("CP", standing, **more)
    assert house.calls_for(INVENTORY, "StationBooted", "CP", **body) is news
    never = House(is_inventory_read=False)
    never.add("CP", standing, **more)
    assert never.calls_for(INVENTORY, "StationBooted", "CP", **body) is False


def test_a_charger_that_never_booted_is_read_after_its_boot() -> None:
    house = House()
    house.add("NEW", None, boot_ms=None)
    house.add("KNOWN", None)
    house.add("READ", Standing(inventory_ms=1))
    assert [house.calls_for(INVENTORY, "LinkOpened", name) for name in ("NEW", "KNOWN", "READ")] == [False, True, False]


@pytest.mark.parametrize("is_auto", [True, False])
def test_what_was_left_undone_is_taken_up_when_it_comes_back(is_auto: bool) -> None:
    house = House(is_auto=is_auto)
    house.add("DRIFTED", Standing(State.DRIFTED))
    house.add("FAILED", Standing(State.FAILED))
    house.add("DUE", Standing(State.REBOOT_NEEDED, written_ms=5))
    house.add("ASKED", Standing(State.REBOOT_NEEDED, written_ms=5, reset_ms=6))
    opened = {name: house.calls_for(APPLY, "LinkOpened", name) for name in house.standing}
    assert opened == {"DRIFTED": is_auto, "FAILED": False, "DUE": False, "ASKED": False}
    reset = {name: house.calls_for(RESET, "LinkOpened", name) for name in house.standing}
    assert reset == {"DRIFTED": False, "FAILED": False, "DUE": True, "ASKED": False}
    assert house.calls_for(CHECK, "StationBooted", "ASKED") is True
    assert house.calls_for(CHECK, "StationBooted", "FAILED") is False
