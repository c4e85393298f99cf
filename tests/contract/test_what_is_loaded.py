"""What a restart must find again in the store: wishes for chargers, and what their displays show."""

from __future__ import annotations

from typing import Any

from csms.app.availability import Availability
from csms.edges.ocpp201.costs import learnt
from csms.ports import Table, Tx


async def test_what_is_wanted_out_of_service_is_in_memory_again(open_store: Any) -> None:
    def work(tx: Tx) -> None:
        for station, wanted, answer in (
            ("CP1", "Inoperative", "Accepted"),
            ("CP2", "Inoperative", "Scheduled"),
            ("CP3", "Inoperative", "Rejected"),
            ("CP4", "Inoperative", None),
            ("CP5", "Operative", "Accepted"),
        ):
            row = {"station": station, "evse": 1, "connector": 1, "wanted": wanted, "answer": answer, "since_ms": 1}
            tx.save(Table.AVAILABILITY, {**row, "answered_ms": 2 if answer else None})

    async with open_store() as store:
        await store.transact(work)
        availability = Availability(store)
        await availability.load()
    concerned = [station for station in ("CP1", "CP2", "CP3", "CP4", "CP5") if availability.is_concerned(station)]
    assert concerned == ["CP1", "CP2"]


async def test_what_a_display_shows_is_known_from_the_stored_configuration(open_store: Any) -> None:
    def work(tx: Tx) -> None:
        for station, name, value in (
            ("CS1", "TariffCostCtrlr.Available[Cost]", "true"),
            ("CS1", "TariffCostCtrlr.Enabled[Cost]", "True"),
            ("CS1", "TariffCostCtrlr.Currency", "INR"),
            ("CS2", "TariffCostCtrlr.Available[Cost]", "true"),
            ("CS2", "TariffCostCtrlr.Enabled[Cost]", "false"),
            ("CS3", "TariffCostCtrlr.Available[Tariff]", "true"),
            ("CS4", "OCPPCommCtrlr.HeartbeatInterval", "300"),
        ):
            tx.save(
                Table.CONFIGURATION,
                {"station": station, "name": name, "attribute": "Actual", "value": value, "data": "{}", "seen_ms": 1},
            )

    async with open_store() as store:
        await store.transact(work)
        found = await learnt(store)
    assert {name: (one.shows_cost, one.shows_tariff, one.currency) for name, one in found.items()} == {
        "CS1": (True, False, "INR"),
        "CS2": (False, False, None),
        "CS3": (False, True, None),
    }
