"""Moving a charger to a higher security profile, without locking it out (A05; 1.6 white paper, A05).

    pending is stored ─▶ the charger is asked ─▶ it comes back with the new profile: in force, no way back
                              └─▶ it says no: pending is taken back, nothing has changed

1.6 takes one key, SecurityProfile. 2.0.1 takes a network profile in a free slot, that slot at the head of
NetworkConfigurationPriority, and a reset.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from csms.app.answers import RawAnswer
from csms.app.certificates import Certificates
from csms.app.stations import Station, Stations
from csms.domain.certificate import Use
from csms.domain.refusal import Refusal, Why
from csms.edges.ocppj.codes import Version
from csms.edges.roots import word_of
from csms.edges.steward import NoAnswer, SaidNo, Visit, visit_now
from csms.ports import Clock, Store, Table

_TAKEN: Final = frozenset({"Accepted", "RebootRequired"})
_MESSAGE_TIMEOUT_S: Final = 60  # what a 2.0.1 charger shall wait for our answers on the new profile (OCPP.md 6.1)
_PRIORITY: Final[Mapping[str, Any]] = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "NetworkConfigurationPriority"},
}


class Upgrade:
    """Raises security profiles. `public_url` is what chargers shall call over TLS; None: there is no TLS listener."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        certificates: Certificates,
        clock: Clock,
        raw: Callable[..., Awaitable[RawAnswer]],
        plain_url: Callable[[], str],
        tls_url: Callable[[], str | None],
    ) -> None:
        self._store = store
        self._stations = stations
        self._certificates = certificates
        self._clock = clock
        self._raw = raw
        self._plain_url = plain_url
        self._tls_url = tls_url

    async def ask(
        self, station_id: str, profile: int, *, url: str | None, slot: int | None, interface: str, force: bool
    ) -> dict[str, Any]:
        """Ask the charger to move up; what it said. Raises Refusal."""
        visit = visit_now(self._stations, station_id, self._raw)
        station = visit.station
        if profile <= station.security_profile:
            sentence = f"It has profile {station.security_profile} already; a charger is only ever asked to move up."
            raise Refusal(Why.WRONG_STATE, sentence)
        address = url or (self._plain_url() if profile == 1 else self._tls_url())
        await self._check(visit, profile, address, force=force)
        await self._pend(station, profile)
        try:
            if visit.version is Version.V16:
                said = await self._ask_16(visit, profile)
            else:
                said = await self._ask_201(visit, profile, str(address), slot, interface)
        except NoAnswer as silence:
            # Heard or not: both profiles open the door until the charger shows which it is.
            return {"status": str(silence), "pending": True}
        except SaidNo as no:
            await self._pend(station, None)
            return {"status": str(no), "pending": False}
        if not said["pending"]:
            await self._pend(station, None)
        return said

    async def _check(self, visit: Visit, profile: int, address: str | None, *, force: bool) -> None:
        """What would lock the charger out (A05.FR.02-04)."""
        station = visit.station
        if profile in {1, 2} and station.password_hash is None:
            raise Refusal(Why.WRONG_STATE, "It has no password yet; set one with POST …/credentials first.")
        if profile >= 2 and address is None:
            raise Refusal(Why.WRONG_STATE, "There is no TLS listener; configure tls.certificate and tls.key first.")
        if force:
            return
        if station.transport == Version.V16.value and station.sessions:
            # A 2.0.1 charger is told to reset when it is idle; 1.6 has no such word.
            raise Refusal(Why.WRONG_STATE, "It is charging, and may restart at once when asked; wait for the end.")
        if profile >= 2 and await self._has_no_root(visit):
            sentence = "It holds no CSMSRootCertificate by which to know this system; install one first."
            raise Refusal(Why.WRONG_STATE, sentence)
        if profile == 3 and not await self._certificates.has_good(station.id):
            sentence = "It holds no certificate of ours; have one signed first, or use force if it has another."
            raise Refusal(Why.WRONG_STATE, sentence)

    async def _has_no_root(self, visit: Visit) -> bool:
        """Whether the charger says now that it holds no root for us. One that cannot be asked may hold one."""
        word = word_of(visit, Use.CSMS_ROOT)
        payload = {"certificateType": word if visit.version is Version.V16 else [word]}
        try:
            return (await visit.ask("GetInstalledCertificateIds", payload)).get("status") == "NotFound"
        except (SaidNo, NoAnswer):
            return False

    async def _ask_16(self, visit: Visit, profile: int) -> dict[str, Any]:
        answer = await visit.ask("ChangeConfiguration", {"key": "SecurityProfile", "value": str(profile)})
        status = str(answer.get("status"))
        if status == "RebootRequired":
            await visit.ask("Reset", {"type": "Soft"})
        return {"status": status, "pending": status in _TAKEN}

    async def _ask_201(
        self, visit: Visit, profile: int, address: str, slot: int | None, interface: str
    ) -> dict[str, Any]:
        order = await self._priority(visit)
        chosen = slot or next(number for number in range(1, len(order) + 2) if str(number) not in order)
        connection = {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": address,
            "messageTimeout": _MESSAGE_TIMEOUT_S,
            "securityProfile": profile,
            "ocppInterface": interface,
        }
        asked = {"configurationSlot": chosen, "connectionData": connection}
        status = str((await visit.ask("SetNetworkProfile", asked)).get("status"))
        if status != "Accepted":
            return {"status": status, "pending": False, "slot": chosen}
        value = ",".join([str(chosen), *(one for one in order if one != str(chosen))])
        results = (await visit.ask("SetVariables", {"setVariableData": [{**_PRIORITY, "attributeValue": value}]})).get(
            "setVariableResult"
        )
        status = str(results[0].get("attributeStatus")) if results else "Rejected"
        if status not in _TAKEN:
            return {"status": status, "pending": False, "slot": chosen}
        reset = str((await visit.ask("Reset", {"type": "OnIdle"})).get("status"))
        return {"status": "Accepted", "pending": True, "slot": chosen, "reset": reset}

    async def _priority(self, visit: Visit) -> list[str]:
        """The slots in use, the present one first."""
        results = (await visit.ask("GetVariables", {"getVariableData": [dict(_PRIORITY)]})).get("getVariableResult")
        value = str(results[0].get("attributeValue") or "") if results else ""
        return [one.strip() for one in value.split(",") if one.strip()]

    async def _pend(self, station: Station, profile: int | None) -> None:
        values = {"security_profile_pending": profile}
        await self._store.transact(lambda tx: tx.change(Table.STATIONS, values, id=station.id))
        await self._stations.refresh(station.id)
