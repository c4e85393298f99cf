"""What 2.0.1 stations say of their displays: TariffCostCtrlr, from whatever message it comes.

`Available[Cost]`, `Enabled[Cost]`, `Available[Tariff]`, `Enabled[Tariff]` and `Currency` (2.0.1 part 2, appendix).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from csms.app.calls import CallAnswered, Calls
from csms.app.costs import Costs, Display
from csms.app.reports import Report, Reports
from csms.domain.provisioning import ACTUAL, Item
from csms.edges.ocpp201.device_model import reported, variables_read, variables_set
from csms.ports import Store, Table

log = structlog.get_logger()

_FLAGS: Final = {
    "TariffCostCtrlr.Available[Cost]": "has_cost",
    "TariffCostCtrlr.Enabled[Cost]": "cost_enabled",
    "TariffCostCtrlr.Available[Tariff]": "has_tariff",
    "TariffCostCtrlr.Enabled[Tariff]": "tariff_enabled",
}
_CURRENCY: Final = "TariffCostCtrlr.Currency"


async def learnt(store: Store) -> dict[str, Display]:
    """What is stored of every charger's display."""
    names = [*_FLAGS, _CURRENCY]
    rows = await store.read(lambda tx: tx.many(Table.CONFIGURATION, name=names, attribute=ACTUAL))
    found: dict[str, Display] = {}
    for row in rows:
        _put(found.setdefault(row["station"], Display()), row["name"], row["value"])
    return found


class CostEdge:
    """Keeps what `costs` knows of displays in step with the wire."""

    def __init__(self, *, costs: Costs, calls: Calls, reports: Reports) -> None:
        self._costs = costs
        calls.read("GetVariables", self._answered)
        calls.read("SetVariables", self._answered)
        reports.read("NotifyReport", self._reported)

    async def _answered(self, call: CallAnswered) -> None:
        try:
            is_read = call.action == "GetVariables"
            items = variables_read(call.response)[0] if is_read else variables_set(call.request, call.response)[0]
        except (KeyError, TypeError, AttributeError):  # an answer of no known shape says nothing
            log.info("costs.unreadable_answer", station=call.station, action=call.action)
            return
        self._learn(call.station, items)

    async def _reported(self, report: Report) -> None:
        self._learn(report.station, reported(report.body))

    def _learn(self, station_id: str, items: Iterable[Item]) -> None:
        for item in items:
            if item.attribute == ACTUAL and (item.name in _FLAGS or item.name == _CURRENCY):
                _put(self._costs.display(station_id), item.name, item.value)


def _put(display: Display, name: str, value: str | None) -> None:
    if name == _CURRENCY:
        display.currency = value
    else:
        setattr(display, _FLAGS[name], None if value is None else value.strip().lower() == "true")
