"""OCPP 1.6 as the simulated charger speaks it: what it says, what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ocpp.v16 import call, call_result, datatypes, enums

from simulators.clock import wall_ms, written
from simulators.station import KIND_SAMPLE, KIND_START, KIND_STOP, Connector, Queued, Session
from simulators.wire import Answer, Payload, RefuseError, payload_of

if TYPE_CHECKING:
    from simulators.ocpp_charger import Charger

UNKNOWN_TX = -1  # errata 3.18: what a stop carries when the start was never answered
READ_ONLY = {"NumberOfConnectors": "1", "SupportedFeatureProfiles": "Core,Reservation,SmartCharging,RemoteTrigger"}
TRIGGERS = {"FirmwareStatusNotification": "Idle", "DiagnosticsStatusNotification": "Idle"}


class Dialect16:
    """The 1.6 words of one charger."""

    def __init__(self, charger: Charger) -> None:
        self.charger = charger

    # -- what it says ------------------------------------------------------------------------------------------

    def boot(self, _reason: str) -> tuple[str, Payload]:
        mine = self.charger
        return "BootNotification", payload_of(
            call.BootNotification(
                charge_point_model=mine.model,
                charge_point_vendor=mine.vendor,
                charge_point_serial_number=mine.serial,
                firmware_version=mine.firmware,
                meter_serial_number=f"M-{mine.serial}"[:25],
            )
        )

    def authorize(self, tag: str) -> tuple[str, Payload]:
        return "Authorize", payload_of(call.Authorize(id_tag=tag))

    def is_accepted(self, answer: Payload, default: bool = False) -> bool:
        """Whether an Authorize or StartTransaction answer lets the token charge."""
        info = answer.get("idTagInfo")
        return default if info is None else info.get("status") == "Accepted"

    def status(self, socket: Connector | None) -> tuple[str, Payload]:
        return "StatusNotification", payload_of(
            call.StatusNotification(
                connector_id=socket.number if socket else 0,
                error_code=enums.ChargePointErrorCode.no_error,
                status=enums.ChargePointStatus(socket.status if socket else "Available"),
                timestamp=written(self.charger.now_ms()),
            )
        )

    def start(self, socket: Connector, session: Session) -> Queued:
        payload = payload_of(
            call.StartTransaction(
                connector_id=socket.number,
                id_tag=session.token,
                meter_start=self.charger.reported_register_wh(socket, session),
                timestamp=written(session.start_ms),
                reservation_id=session.reservation_id,
            )
        )
        return Queued(KIND_START, "StartTransaction", payload, session.local_id, wall_ms())

    def sample(self, socket: Connector, session: Session, _trigger: str) -> Queued:
        payload = payload_of(call.MeterValues(connector_id=socket.number, meter_value=[self._reading(socket, session)]))
        return Queued(KIND_SAMPLE, "MeterValues", payload, session.local_id, wall_ms())

    def stop(self, socket: Connector, session: Session, reason: str, extra_wh: int = 0) -> Queued:
        payload = payload_of(
            call.StopTransaction(
                meter_stop=self.charger.reported_register_wh(socket, session) + extra_wh,
                timestamp=written((session.stop_ms or 0) + (1000 if extra_wh else 0)),
                transaction_id=0,  # addressed when it leaves
                reason=enums.Reason(reason),
                id_tag=session.token,
            )
        )
        return Queued(KIND_STOP, "StopTransaction", payload, session.local_id, wall_ms())

    def addressed(self, item: Queued, session: Session | None) -> Payload:
        """The payload as it leaves now: with the transaction id the charger knows by now."""
        if item.kind == KIND_START:
            return item.payload
        faults = self.charger.faults
        tx_id = int(session.tx_id) if session and session.tx_id else UNKNOWN_TX
        if faults.on("stop_without_start") and tx_id == UNKNOWN_TX:
            tx_id = 2_000_000_000 + int(item.session[:6], 16)
        if faults.on("tx_zero"):
            tx_id = 0
        if faults.on("tx_minus_one"):
            tx_id = UNKNOWN_TX
        return {**item.payload, "transactionId": tx_id}

    def learn(self, session: Session, answer: Payload) -> None:
        """Take the transaction id out of the answer to a start."""
        tx_id = answer.get("transactionId")
        session.starts_answered.append(str(tx_id))
        if not isinstance(tx_id, int) or tx_id <= 0:
            self.charger.complain(f"StartTransaction answered with transactionId {tx_id!r}")
        session.tx_id = session.tx_id or str(tx_id)

    def link_lost(self, queued: Iterable[Queued]) -> None:
        """1.6 messages do not say that they were queued."""

    def _reading(self, socket: Connector, session: Session | None, context: str = "Sample.Periodic") -> Any:
        mine, outlet = self.charger, socket.outlet
        register = str(mine.reported_register_wh(socket, session))
        if mine.faults.on("kwh_as_wh"):
            register = f"{int(register) / 1000:.3f}"
        if mine.faults.chance("reg_dropout_zero", 0.3):
            register = "0"

        def value(text: str, measurand: str, unit: str) -> Any:
            return datatypes.SampledValue(
                value=text,
                context=enums.ReadingContext(context),
                measurand=enums.Measurand(measurand),
                unit=enums.UnitOfMeasure(unit),
                location=enums.Location.ev if measurand == "SoC" else enums.Location.outlet,
            )

        values = {
            "Energy.Active.Import.Register": (register, "Wh"),
            "Power.Active.Import": (f"{outlet.power_w:.1f}", "W"),
            "Current.Import": (f"{outlet.current_a:.1f}", "A"),
            "Voltage": (f"{outlet.voltage_v:.1f}", "V"),
        }
        if outlet.soc_percent is not None:
            values["SoC"] = (str(outlet.soc_percent), "Percent")
        wanted = [name.strip() for name in mine.settings["MeterValuesSampledData"].split(",")]
        if outlet.soc_percent is not None:
            wanted.append("SoC")
        chosen = [value(*_pair(values[name], name)) for name in dict.fromkeys(wanted) if name in values]
        return datatypes.MeterValue(
            timestamp=written(mine.now_ms()),
            sampled_value=chosen or [value(register, "Energy.Active.Import.Register", "Wh")],
        )

    # -- what it answers ---------------------------------------------------------------------------------------

    async def handle(self, action: str, payload: Payload) -> Answer | None:
        """Answer one CALL of the central system; unknown actions are NotImplemented."""
        answerer: Callable[[Payload], Answer | None] | None = getattr(self, f"_on_{action}", None)
        if answerer is None:
            raise RefuseError("NotImplemented", action)
        return answerer(payload)

    def _socket(self, payload: Payload, key: str = "connectorId") -> Connector | None:
        return self.charger.connectors.get(payload.get(key, 0))

    def _on_RemoteStartTransaction(self, payload: Payload) -> Answer:  # noqa: N802 - the action's own name
        mine = self.charger
        socket = self._socket(payload) if "connectorId" in payload else _free(mine.connectors.values())
        held_for = socket.reservation[1] if socket and socket.reservation else payload["idTag"]
        if socket is None or socket.session or not socket.is_operative or held_for != payload["idTag"]:
            return _status(call_result.RemoteStartTransaction, "Rejected")
        if mine.faults.on("remote_start_accepted_silent"):
            return _status(call_result.RemoteStartTransaction, "Accepted")
        if profile := payload.get("chargingProfile"):
            self._install(socket.number, profile)
        return _status(call_result.RemoteStartTransaction, "Accepted", lambda: mine.authorize(socket, payload["idTag"]))

    def _on_RemoteStopTransaction(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        for socket in mine.connectors.values():
            if socket.session and socket.session.tx_id == str(payload["transactionId"]):
                return _status(
                    call_result.RemoteStopTransaction, "Accepted", partial(mine.end_session, socket, "Remote")
                )
        return _status(call_result.RemoteStopTransaction, "Rejected")

    def _on_GetConfiguration(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        fixed = READ_ONLY | {"NumberOfConnectors": str(len(mine.connectors))}
        known = {**mine.settings, **fixed}
        if mine.faults.on("frame_2mb_getconfiguration"):
            known |= {f"Vendor.Filler{number:04}": "x" * 480 for number in range(4_000)}
        wanted = payload.get("key") or list(known)
        keys = [
            {"key": key, "readonly": key in fixed or key in mine.fixed_settings, "value": known[key]}
            for key in wanted
            if key in known
        ]
        unknown = [key for key in wanted if key not in known]
        return {"configurationKey": keys, **({"unknownKey": unknown} if unknown else {})}, None

    def _on_ChangeConfiguration(self, payload: Payload) -> Answer:  # noqa: N802
        key, value = payload["key"], payload["value"]
        if key == "AuthorizationKey":
            self.charger.password = value
        elif key in READ_ONLY or key in self.charger.fixed_settings:
            return _status(call_result.ChangeConfiguration, "Rejected")
        elif key not in self.charger.settings:
            return _status(call_result.ChangeConfiguration, "NotSupported")
        elif self.charger.settings[key].isdecimal() and not value.isdecimal():
            return _status(call_result.ChangeConfiguration, "Rejected")
        else:
            self.charger.settings[key] = value
            if key == "HeartbeatInterval":
                self.charger.heartbeat_s = float(value) or 86_400.0
        return _status(call_result.ChangeConfiguration, "Accepted")

    def _on_Reset(self, payload: Payload) -> Answer:  # noqa: N802
        reason = "HardReset" if payload["type"] == "Hard" else "SoftReset"
        return _status(call_result.Reset, "Accepted", lambda: self.charger.reset(reason, "RemoteReset"))

    def _on_UnlockConnector(self, payload: Payload) -> Answer:  # noqa: N802
        socket = self._socket(payload)
        if socket is None:
            return _status(call_result.UnlockConnector, "NotSupported")
        return _status(
            call_result.UnlockConnector, "Unlocked", lambda: self.charger.end_session(socket, "UnlockCommand")
        )

    def _on_TriggerMessage(self, payload: Payload) -> Answer:  # noqa: N802
        mine, wanted = self.charger, payload["requestedMessage"]
        sockets = list(mine.connectors.values())
        if "connectorId" in payload and payload["connectorId"] != 0:
            sockets = [socket for socket in sockets if socket.number == payload["connectorId"]]
        if not sockets:
            return _status(call_result.TriggerMessage, "Rejected")

        def comply() -> None:
            match wanted:
                case "BootNotification":
                    mine.boot_again()
                case "Heartbeat":
                    mine.tell("Heartbeat", {})
                case "StatusNotification":
                    for socket in sockets:
                        mine.tell_status(socket)
                case "MeterValues":
                    for socket in sockets:
                        mine.tell("MeterValues", self._register_now(socket))
                case _:
                    mine.tell(wanted, {"status": TRIGGERS[wanted]})

        if wanted == "BootNotification" and mine.is_accepted:
            return _status(call_result.TriggerMessage, "Rejected")
        return _status(call_result.TriggerMessage, "Accepted", comply)

    def _register_now(self, socket: Connector) -> Payload:
        session = socket.session
        known = int(session.tx_id) if session and session.tx_id else None
        return payload_of(
            call.MeterValues(
                connector_id=socket.number,
                meter_value=[self._reading(socket, session, "Trigger")],
                transaction_id=known,
            )
        )

    def _on_ChangeAvailability(self, payload: Payload) -> Answer | None:  # noqa: N802
        mine = self.charger
        if mine.faults.on("availability_never_answers"):
            return None
        number, operative = payload["connectorId"], payload["type"] == "Operative"
        sockets = [s for s in mine.connectors.values() if number in (0, s.number)]
        if not sockets:
            return _status(call_result.ChangeAvailability, "Rejected")
        outcome, changed = change_availability(sockets, operative=operative)

        def comply() -> None:
            for socket in changed:
                mine.set_status(socket, idle_status(socket))

        return _status(call_result.ChangeAvailability, outcome, comply)

    def _on_ReserveNow(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        socket = self._socket(payload) if payload["connectorId"] else _free(mine.connectors.values())
        outcome = reserve(socket, payload["reservationId"], payload["idTag"])
        return _status(
            call_result.ReserveNow,
            outcome,
            (lambda: mine.set_status(socket, "Reserved")) if socket and outcome == "Accepted" else None,
        )

    def _on_CancelReservation(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        socket = unreserve(mine.connectors.values(), payload["reservationId"])
        if socket is None:
            return _status(call_result.CancelReservation, "Rejected")
        return _status(call_result.CancelReservation, "Accepted", lambda: mine.set_status(socket, idle_status(socket)))

    def _on_SetChargingProfile(self, payload: Payload) -> Answer:  # noqa: N802
        self._install(payload["connectorId"], payload["csChargingProfiles"])
        return _status(call_result.SetChargingProfile, "Accepted")

    def _install(self, connector: int, profile: Payload) -> None:
        mine = self.charger
        mine.profiles = [p for p in mine.profiles if p["chargingProfileId"] != profile["chargingProfileId"]]
        mine.profiles.append({**profile, "connectorId": connector})
        schedule = profile["chargingSchedule"]
        apply_limit(mine, connector, schedule["chargingRateUnit"], schedule["chargingSchedulePeriod"])

    def _on_ClearChargingProfile(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        kept = [p for p in mine.profiles if not _matches(p, payload)]
        cleared = len(kept) < len(mine.profiles)
        mine.profiles = kept
        if not kept:
            for socket in mine.connectors.values():
                socket.outlet.limit_w = None
        return _status(call_result.ClearChargingProfile, "Accepted" if cleared else "Unknown")

    def _on_GetCompositeSchedule(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        socket = self._socket(payload)
        outlet = socket.outlet if socket else next(iter(mine.connectors.values())).outlet
        limit = outlet.rated_w if outlet.limit_w is None else outlet.limit_w
        schedule = {
            "duration": payload["duration"],
            "chargingRateUnit": payload.get("chargingRateUnit", "W"),
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": round(limit, 1)}],
        }
        return {
            "status": "Accepted",
            "connectorId": payload["connectorId"],
            "scheduleStart": written(mine.now_ms()),
            "chargingSchedule": schedule,
        }, None

    def _on_DataTransfer(self, payload: Payload) -> Answer:  # noqa: N802
        known = payload["vendorId"] == self.charger.vendor
        return (
            ({"status": "Accepted", "data": payload.get("data", "")}, None)
            if known
            else (
                {"status": "UnknownVendorId"},
                None,
            )
        )

    def _on_ClearCache(self, _payload: Payload) -> Answer:  # noqa: N802
        return _status(call_result.ClearCache, "Accepted")

    def _on_GetLocalListVersion(self, _payload: Payload) -> Answer:  # noqa: N802
        return {"listVersion": self.charger.local_list_version}, None

    def _on_SendLocalList(self, payload: Payload) -> Answer:  # noqa: N802
        version, full = payload["listVersion"], payload["updateType"] == "Full"
        if not full and version <= self.charger.local_list_version:
            return _status(call_result.SendLocalList, "VersionMismatch")
        self.charger.local_list_version = version
        return _status(call_result.SendLocalList, "Accepted")


# -- shared by both dialects -------------------------------------------------------------------------------------


def change_availability(sockets: Iterable[Connector], *, operative: bool) -> tuple[str, list[Connector]]:
    """Set sockets (in)operative; those that charge follow at the end of their session. (status, changed now)."""
    changed, later = [], False
    for socket in sockets:
        if socket.session is not None and not operative:
            socket.pending_inoperative = later = True
            continue
        socket.is_operative, socket.pending_inoperative = operative, False
        changed.append(socket)
    return ("Scheduled" if later else "Accepted"), changed


def idle_status(socket: Connector) -> str:
    """What a socket is when nothing charges there."""
    if not socket.is_operative:
        return "Unavailable"
    if socket.session is not None:
        return socket.status
    return "Preparing" if socket.is_plugged else ("Reserved" if socket.reservation else "Available")


def reserve(socket: Connector | None, reservation_id: int, token: str) -> str:
    """ReserveNow on one socket: Accepted, Occupied, Unavailable or Rejected; the same id replaces itself."""
    if socket is None:
        return "Rejected"
    if not socket.is_operative:
        return "Unavailable"
    if socket.session or socket.is_plugged or (socket.reservation and socket.reservation[0] != reservation_id):
        return "Occupied"
    socket.reservation = (reservation_id, token)
    return "Accepted"


def unreserve(sockets: Iterable[Connector], reservation_id: int) -> Connector | None:
    """Cancel a reservation; the socket that held it, or `None`."""
    for socket in sockets:
        if socket.reservation and socket.reservation[0] == reservation_id:
            socket.reservation = None
            return socket
    return None


def apply_limit(charger: Charger, connector: int, unit: str, periods: list[Payload]) -> None:
    """Hold the sockets to the first period's limit, read as nameplate power (see `physics`)."""
    limit = float(periods[0]["limit"])
    for socket in charger.connectors.values():
        if connector in (0, socket.number):
            outlet = socket.outlet
            phases = periods[0].get("numberPhases", outlet.phases)
            outlet.limit_w = limit if unit == "W" else limit * outlet.voltage_v * phases


def _free(sockets: Iterable[Connector]) -> Connector | None:
    usable = [s for s in sockets if s.session is None and s.is_operative and s.reservation is None]
    return next((s for s in usable if s.is_plugged), usable[0] if usable else None)


def _matches(profile: Payload, wanted: Payload) -> bool:
    if "id" in wanted:
        return bool(profile["chargingProfileId"] == wanted["id"])
    pairs = (
        ("connectorId", "connectorId"),
        ("chargingProfilePurpose", "chargingProfilePurpose"),
        ("stackLevel", "stackLevel"),
    )
    return all(profile.get(mine) == wanted[theirs] for mine, theirs in pairs if theirs in wanted)


def _pair(value: tuple[str, str], measurand: str) -> tuple[str, str, str]:
    text, unit = value
    return text, measurand, unit


def _status(message: Any, status: str, then: Callable[[], None] | None = None) -> Answer:
    return payload_of(message(status=status)), then
