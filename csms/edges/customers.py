"""Asking 2.0.1 chargers about customers: CustomerInformation in OCPP's words (N09, N10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from csms.app.answers import RawAnswer, SchemaProblems
from csms.app.customers import Customers, CustomerWish
from csms.app.stations import Stations
from csms.domain.refusal import Refusal, Why
from csms.edges.ocppj.codes import Version
from csms.edges.steward import NoAnswer, SaidNo, visit_now
from csms.ports import Row


class Enquiries:
    """Sends the requests; what comes back is read by `app.customers`."""

    def __init__(self, *, stations: Stations, customers: Customers, raw: Callable[..., Awaitable[RawAnswer]]) -> None:
        self._stations = stations
        self._customers = customers
        self._raw = raw

    async def ask(self, station_id: str, wish: CustomerWish, who: str, *, timeout_s: float) -> Row:
        """Ask now; the row of the request, whose state in the store says what was answered. Raises Refusal."""
        if self._stations.known(station_id).transport not in {None, Version.V201.value}:
            raise Refusal(Why.NOT_SUPPORTED, "Only OCPP 2.0.1 has customer information.")
        visit = visit_now(self._stations, station_id, self._raw)
        wanted = _payload(wish)
        row = await self._customers.ask(visit.station.id, wanted, who)
        payload = {"requestId": row["request_id"], **wanted}
        try:
            answer = await visit.ask("CustomerInformation", payload, timeout_s=timeout_s)
        except NoAnswer:
            return row  # it may have heard: its answer or its report may still come
        except SaidNo as no:
            await self._customers.answered(row["id"], no.code or "an error")
            return row
        except (Refusal, SchemaProblems):
            await self._customers.answered(row["id"], "not sent")
            raise
        await self._customers.answered(row["id"], str(answer.get("status")))
        return row


def _payload(wish: CustomerWish) -> dict[str, Any]:
    """CustomerInformationRequest without its number."""
    wanted: dict[str, Any] = {"report": wish.report, "clear": wish.clear}
    if wish.customer_identifier is not None:
        wanted["customerIdentifier"] = wish.customer_identifier
    if wish.token is not None:
        wanted["idToken"] = {"idToken": wish.token[0], "type": wish.token[1]}
    if (certificate := wish.certificate) is not None:
        wanted["customerCertificate"] = {
            "hashAlgorithm": certificate.hash_algorithm,
            "issuerNameHash": certificate.issuer_name_hash,
            "issuerKeyHash": certificate.issuer_key_hash,
            "serialNumber": certificate.serial_number,
        }
    return wanted
