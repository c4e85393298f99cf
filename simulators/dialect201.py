"""OCPP 2.0.1 as the simulated charger speaks it: what it says, what it answers.

EVSE n has one connector, number 1. The charger makes its own transaction ids; every transaction message carries
a running seqNo, and those still queued when the link is lost say `offline` (E11.FR.07).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ocpp.v201 import call, datatypes, enums

from simulators.clock import wall_ms, written
from simulators.dialect16 import apply_limit, change_availability, idle_status, reserve, unreserve
from simulators.station import KIND_SAMPLE, KIND_START, KIND_STOP, Connector, Queued, Session
from simulators.wire import Answer, Payload, RefuseError, payload_of

if TYPE_CHECKING:
    from simulators.ocpp_charger import Charger

STATUS = {"Available": "Available", "Reserved": "Reserved", "Unavailable": "Unavailable", "Faulted": "Faulted"}
# (component, variable) -> the setting of `ocpp_charger.SETTINGS` behind it.
VARIABLES = {
    ("OCPPCommCtrlr", "HeartbeatInterval"): "HeartbeatInterval",
    ("OCPPCommCtrlr", "WebSocketPingInterval"): "WebSocketPingInterval",
    ("OCPPCommCtrlr", "MessageAttempts"): "TransactionMessageAttempts",
    ("OCPPCommCtrlr", "MessageAttemptInterval"): "TransactionMessageRetryInterval",
    ("SampledDataCtrlr", "TxUpdatedInterval"): "MeterValueSampleInterval",
    ("SampledDataCtrlr", "TxUpdatedMeasurands"): "MeterValuesSampledData",
    ("AlignedDataCtrlr", "Interval"): "ClockAlignedDataInterval",
    ("AuthCtrlr", "LocalAuthorizeOffline"): "LocalAuthorizeOffline",
    ("AuthCtrlr", "OfflineTxForUnknownIdEnabled"): "AllowOfflineTxForUnknownId",
    ("AuthCtrlr", "AuthorizeRemoteStart"): "AuthorizeRemoteTxRequests",
    ("TxCtrlr", "EVConnectionTimeOut"): "ConnectionTimeOut",
    ("TxCtrlr", "StopTxOnInvalidId"): "StopTransactionOnInvalidId",
    ("TxCtrlr", "StopTxOnEVSideDisconnect"): "StopTransactionOnEVSideDisconnect",
}
# Our reason -> (triggerReason, stoppedReason).
REASONS = {
    "Local": ("StopAuthorized", "Local"),
    "Remote": ("RemoteStop", "Remote"),
    "EVDisconnected": ("EVCommunicationLost", "EVDisconnected"),
    "PowerLoss": ("AbnormalCondition", "PowerLoss"),
    "DeAuthorized": ("Deauthorized", "DeAuthorized"),
    "UnlockCommand": ("UnlockCommand", "Other"),
    "ImmediateReset": ("ResetCommand", "ImmediateReset"),
}


class Dialect201:
    """The 2.0.1 words of one charger."""

    def __init__(self, charger: Charger) -> None:
        self.charger = charger

    # -- what it says ------------------------------------------------------------------------------------------

    def boot(self, reason: str) -> tuple[str, Payload]:
        mine = self.charger
        station = datatypes.ChargingStationType(
            vendor_name=mine.vendor, model=mine.model, serial_number=mine.serial, firmware_version=mine.firmware
        )
        return "BootNotification", payload_of(
            call.BootNotification(charging_station=station, reason=enums.BootReasonEnumType(reason))
        )

    def authorize(self, tag: str) -> tuple[str, Payload]:
        return "Authorize", payload_of(call.Authorize(id_token=_token(tag)))

    def is_accepted(self, answer: Payload, default: bool = False) -> bool:
        """Whether an Authorize or TransactionEvent answer lets the token charge."""
        info = answer.get("idTokenInfo")
        return default if info is None else info.get("status") == "Accepted"

    def status(self, socket: Connector | None) -> tuple[str, Payload]:
        return "StatusNotification", payload_of(
            call.StatusNotification(
                timestamp=written(self.charger.now_ms()),
                connector_status=enums.ConnectorStatusEnumType(
                    STATUS.get(socket.status, "Occupied") if socket else "Available"
                ),
                evse_id=socket.number if socket else 0,
                connector_id=1 if socket else 0,
            )
        )

    def start(self, socket: Connector, session: Session) -> Queued:
        session.tx_id = session.local_id
        session.charging_state = "Charging"
        trigger = "RemoteStart" if session.remote_start_id is not None else "Authorized"
        event = self._event(socket, session, "Started", trigger, at_ms=session.start_ms, context="Transaction.Begin")
        event.id_token = _token(session.token, central=session.remote_start_id is not None)
        event.reservation_id = session.reservation_id
        return self._queued(KIND_START, session, event)

    def sample(self, socket: Connector, session: Session, trigger: str) -> Queued:
        car = socket.outlet.vehicle
        state = "SuspendedEV" if car is not None and car.is_satisfied else "Charging"
        if state != session.charging_state:
            session.charging_state, trigger = state, "ChargingStateChanged"
        context = "Trigger" if trigger == "Trigger" else "Sample.Periodic"
        now = self.charger.now_ms()
        return self._queued(
            KIND_SAMPLE, session, self._event(socket, session, "Updated", trigger, at_ms=now, context=context)
        )

    def stop(self, socket: Connector, session: Session, reason: str, extra_wh: int = 0) -> Queued:
        trigger, stopped = REASONS.get(reason, ("AbnormalCondition", "Other"))
        session.charging_state = "Idle"
        at_ms = (session.stop_ms or 0) + (1000 if extra_wh else 0)
        event = self._event(
            socket, session, "Ended", trigger, at_ms=at_ms, context="Transaction.End", extra_wh=extra_wh
        )
        event.transaction_info.stopped_reason = enums.ReasonEnumType(stopped)
        if reason == "Local":
            event.id_token = _token(session.token)
        return self._queued(KIND_STOP, session, event)

    def addressed(self, item: Queued, _session: Session | None) -> Payload:
        """2.0.1 messages know their transaction from the start."""
        return item.payload

    def learn(self, session: Session, _answer: Payload) -> None:
        """Nothing to learn but that the start was answered."""
        session.starts_answered.append(session.local_id)

    def link_lost(self, queued: Iterable[Queued]) -> None:
        """E11.FR.07: whatever still waits when the link goes says so."""
        for item in queued:
            item.payload["offline"] = True

    def _queued(self, kind: str, session: Session, event: Any) -> Queued:
        return Queued(kind, "TransactionEvent", payload_of(event), session.local_id, wall_ms())

    def _event(
        self,
        socket: Connector,
        session: Session,
        kind: str,
        trigger: str,
        *,
        at_ms: int,
        context: str,
        extra_wh: int = 0,
    ) -> Any:
        info = datatypes.TransactionType(
            transaction_id=session.local_id,
            charging_state=enums.ChargingStateEnumType(session.charging_state),
            remote_start_id=session.remote_start_id,
        )
        event = call.TransactionEvent(
            event_type=enums.TransactionEventEnumType(kind),
            timestamp=written(at_ms),
            trigger_reason=enums.TriggerReasonEnumType(trigger),
            seq_no=session.seq_no,
            transaction_info=info,
            meter_value=[self._reading(socket, session, context, at_ms, extra_wh)],
            offline=not self.charger.is_online,
            evse=datatypes.EVSEType(id=socket.number, connector_id=1),
        )
        session.seq_no += 1
        return event

    def _reading(self, socket: Connector, session: Session | None, context: str, at_ms: int, extra_wh: int = 0) -> Any:
        mine, outlet = self.charger, socket.outlet
        periodic = context == "Sample.Periodic"
        register = float(mine.reported_register_wh(socket, session) + extra_wh)
        if periodic and mine.faults.on("kwh_as_wh"):
            register /= 1000
        if periodic and mine.faults.chance("reg_dropout_zero", 0.3):
            register = 0.0

        def value(number: float, measurand: str, unit: str) -> Any:
            return datatypes.SampledValueType(
                value=round(number, 3),
                context=enums.ReadingContextEnumType(context),
                measurand=enums.MeasurandEnumType(measurand),
                unit_of_measure=datatypes.UnitOfMeasureType(unit=unit),
            )

        values = [value(register, "Energy.Active.Import.Register", "Wh")]
        if periodic:
            wanted = mine.settings["MeterValuesSampledData"]
            if "Power.Active.Import" in wanted:
                values.append(value(outlet.power_w, "Power.Active.Import", "W"))
            if "Current.Import" in wanted:
                values.append(value(outlet.current_a, "Current.Import", "A"))
            if "Voltage" in wanted:
                values.append(value(outlet.voltage_v, "Voltage", "V"))
            if outlet.soc_percent is not None:
                values.append(value(outlet.soc_percent, "SoC", "Percent"))
        return datatypes.MeterValueType(timestamp=written(at_ms), sampled_value=values)

    # -- what it answers ---------------------------------------------------------------------------------------

    async def handle(self, action: str, payload: Payload) -> Answer | None:
        """Answer one CALL of the CSMS; unknown actions are NotImplemented."""
        answerer: Callable[[Payload], Answer | None] | None = getattr(self, f"_on_{action}", None)
        if answerer is None:
            raise RefuseError("NotImplemented", action)
        return answerer(payload)

    def _sockets(self, payload: Payload) -> list[Connector]:
        """The sockets an optional `evse` or `evseId` means: all of them when it is absent or 0."""
        number = payload.get("evseId", payload.get("evse", {}).get("id", 0))
        return [s for s in self.charger.connectors.values() if number in (0, s.number)]

    def _on_RequestStartTransaction(self, payload: Payload) -> Answer:  # noqa: N802 - the action's own name
        mine, token = self.charger, payload["idToken"]["idToken"]
        usable = [s for s in self._sockets(payload) if s.session is None and s.is_operative]
        usable = [s for s in usable if s.reservation is None or s.reservation[1] == token]
        socket = next((s for s in usable if s.is_plugged), usable[0] if usable else None)
        if socket is None:
            return {"status": "Rejected"}, None
        if mine.faults.on("remote_start_accepted_silent"):
            return {"status": "Accepted"}, None
        if profile := payload.get("chargingProfile"):
            self._install(socket.number, profile)
        return {"status": "Accepted"}, lambda: mine.authorize(socket, token, payload["remoteStartId"])

    def _on_RequestStopTransaction(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        for socket in mine.connectors.values():
            if socket.session and socket.session.tx_id == payload["transactionId"]:
                return {"status": "Accepted"}, partial(mine.end_session, socket, "Remote")
        return {"status": "Rejected"}, None

    def _on_GetTransactionStatus(self, payload: Payload) -> Answer:  # noqa: N802
        mine, wanted = self.charger, payload.get("transactionId")
        waiting = [item for item in mine.outbox.items if wanted in (None, item.session)]
        answer: Payload = {"messagesInQueue": bool(waiting)}
        if wanted is not None:
            answer["ongoingIndicator"] = any(s.session and s.session.tx_id == wanted for s in mine.connectors.values())
        return answer, None

    def _on_GetVariables(self, payload: Payload) -> Answer:  # noqa: N802
        return {"getVariableResult": [self._get(entry) for entry in payload["getVariableData"]]}, None

    def _get(self, entry: Payload) -> Payload:
        named = {"component": entry["component"], "variable": entry["variable"]}
        setting = VARIABLES.get((entry["component"]["name"], entry["variable"]["name"]))
        if setting is None:
            known = any(component == entry["component"]["name"] for component, _ in VARIABLES)
            return {"attributeStatus": "UnknownVariable" if known else "UnknownComponent", **named}
        if entry.get("attributeType", "Actual") != "Actual":
            return {"attributeStatus": "NotSupportedAttributeType", **named}
        return {"attributeStatus": "Accepted", "attributeValue": self.charger.settings[setting], **named}

    def _on_SetVariables(self, payload: Payload) -> Answer:  # noqa: N802
        return {"setVariableResult": [self._set(entry) for entry in payload["setVariableData"]]}, None

    def _set(self, entry: Payload) -> Payload:
        named = {"component": entry["component"], "variable": entry["variable"]}
        key = (entry["component"]["name"], entry["variable"]["name"])
        if key == ("SecurityCtrlr", "BasicAuthPassword"):
            self.charger.password = entry["attributeValue"]
            return {"attributeStatus": "Accepted", **named}
        setting = VARIABLES.get(key)
        if setting is None:
            return {"attributeStatus": "UnknownVariable", **named}
        if setting in self.charger.fixed_settings:
            return {"attributeStatus": "Rejected", **named}
        if self.charger.settings[setting].isdecimal() and not entry["attributeValue"].isdecimal():
            return {"attributeStatus": "Rejected", **named}
        self.charger.settings[setting] = entry["attributeValue"]
        if setting == "HeartbeatInterval":
            self.charger.heartbeat_s = float(entry["attributeValue"]) or 86_400.0
        return {"attributeStatus": "Accepted", **named}

    def _on_GetBaseReport(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        entries = [
            {
                "component": {"name": component},
                "variable": {"name": variable},
                "variableAttribute": [
                    {
                        "type": "Actual",
                        "value": mine.settings[setting],
                        "mutability": "ReadOnly" if setting in mine.fixed_settings else "ReadWrite",
                    }
                ],
                "variableCharacteristics": {
                    "dataType": "integer" if mine.settings[setting].isdecimal() else "string",
                    "supportsMonitoring": False,
                },
            }
            for (component, variable), setting in VARIABLES.items()
        ]
        for socket in mine.connectors.values():
            entries.append(
                {
                    "component": {"name": "EVSE", "evse": {"id": socket.number}},
                    "variable": {"name": "Power"},
                    "variableAttribute": [{"type": "Actual", "value": "0", "mutability": "ReadOnly"}],
                    "variableCharacteristics": {
                        "dataType": "decimal",
                        "unit": "W",
                        "maxLimit": socket.outlet.rated_w * mine.power_scale,
                        "supportsMonitoring": False,
                    },
                }
            )
        if mine.faults.on("frame_2mb_getconfiguration"):
            entries *= 600
        half = (len(entries) + 1) // 2

        def report() -> None:
            for number, part in enumerate((entries[:half], entries[half:])):
                mine.tell(
                    "NotifyReport",
                    {
                        "requestId": payload["requestId"],
                        "generatedAt": written(mine.now_ms()),
                        "seqNo": number,
                        "tbc": number == 0,
                        "reportData": part,
                    },
                )

        return {"status": "Accepted"}, report

    def _on_Reset(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        if "evseId" in payload:
            sockets = self._sockets(payload)
            if not sockets:
                return {"status": "Rejected"}, None
            return {"status": "Accepted"}, _for_each(sockets, lambda s: mine.end_session(s, "ImmediateReset"))
        idle = all(s.session is None for s in mine.connectors.values())
        if payload["type"] == "OnIdle" and not idle:
            return {"status": "Scheduled"}, lambda: mine.reset("Other", "ScheduledReset", wait_idle=True)
        return {"status": "Accepted"}, lambda: mine.reset("ImmediateReset", "RemoteReset")

    def _on_UnlockConnector(self, payload: Payload) -> Answer:  # noqa: N802
        socket = self.charger.connectors.get(payload["evseId"])
        if socket is None or payload["connectorId"] != 1:
            return {"status": "UnknownConnector"}, None
        if socket.session is not None:
            return {"status": "OngoingAuthorizedTransaction"}, None
        return {"status": "Unlocked"}, None

    def _on_TriggerMessage(self, payload: Payload) -> Answer:  # noqa: N802
        mine, wanted = self.charger, payload["requestedMessage"]
        sockets = self._sockets(payload)
        if not sockets or (wanted == "BootNotification" and mine.is_accepted):
            return {"status": "Rejected"}, None
        acts: dict[str, Callable[[Connector], None]] = {
            "StatusNotification": mine.tell_status,
            "MeterValues": lambda socket: mine.tell("MeterValues", self._register_now(socket)),
            "TransactionEvent": lambda socket: mine.sample(socket, "Trigger"),
        }
        if act := acts.get(wanted):
            return {"status": "Accepted"}, _for_each(sockets, act)
        if wanted == "BootNotification":
            return {"status": "Accepted"}, mine.boot_again
        if wanted == "Heartbeat":
            return {"status": "Accepted"}, lambda: mine.tell("Heartbeat", {})
        return {"status": "NotImplemented"}, None

    def _register_now(self, socket: Connector) -> Payload:
        reading = self._reading(socket, socket.session, "Trigger", self.charger.now_ms())
        return payload_of(call.MeterValues(evse_id=socket.number, meter_value=[reading]))

    def _on_ChangeAvailability(self, payload: Payload) -> Answer | None:  # noqa: N802
        mine = self.charger
        if mine.faults.on("availability_never_answers"):
            return None
        sockets = self._sockets(payload)
        if not sockets:
            return {"status": "Rejected"}, None
        outcome, changed = change_availability(sockets, operative=payload["operationalStatus"] == "Operative")

        def comply() -> None:
            for socket in changed:
                mine.set_status(socket, idle_status(socket))

        return {"status": outcome}, comply

    def _on_ReserveNow(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        candidates = self._sockets(payload)
        outcome, chosen = "Rejected", None
        for socket in candidates:
            outcome, chosen = reserve(socket, payload["id"], payload["idToken"]["idToken"]), socket
            if outcome == "Accepted":
                break
        if outcome != "Accepted" or chosen is None:
            return {"status": outcome}, None
        held = chosen
        return {"status": "Accepted"}, lambda: mine.set_status(held, "Reserved")

    def _on_CancelReservation(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        socket = unreserve(mine.connectors.values(), payload["reservationId"])
        if socket is None:
            return {"status": "Rejected"}, None
        return {"status": "Accepted"}, lambda: mine.set_status(socket, idle_status(socket))

    def _on_SetChargingProfile(self, payload: Payload) -> Answer:  # noqa: N802
        self._install(payload["evseId"], payload["chargingProfile"])
        return {"status": "Accepted"}, None

    def _install(self, evse: int, profile: Payload) -> None:
        mine = self.charger
        mine.profiles = [p for p in mine.profiles if p["id"] != profile["id"]]
        mine.profiles.append({**profile, "evseId": evse})
        schedule = profile["chargingSchedule"][0]
        apply_limit(mine, evse, schedule["chargingRateUnit"], schedule["chargingSchedulePeriod"])

    def _on_ClearChargingProfile(self, payload: Payload) -> Answer:  # noqa: N802
        mine = self.charger
        wanted = payload.get("chargingProfileCriteria", {})

        def matches(profile: Payload) -> bool:
            if "chargingProfileId" in payload:
                return bool(profile["id"] == payload["chargingProfileId"])
            return all(profile.get(key) == value for key, value in wanted.items() if key != "customData")

        kept = [profile for profile in mine.profiles if not matches(profile)]
        cleared, mine.profiles = len(kept) < len(mine.profiles), kept
        if not kept:
            for socket in mine.connectors.values():
                socket.outlet.limit_w = None
        return {"status": "Accepted" if cleared else "Unknown"}, None

    def _on_GetCompositeSchedule(self, payload: Payload) -> Answer:  # noqa: N802
        sockets = self._sockets(payload)
        if not sockets:
            return {"status": "Rejected"}, None
        outlet = sockets[0].outlet
        limit = outlet.rated_w if outlet.limit_w is None else outlet.limit_w
        schedule = {
            "evseId": payload["evseId"],
            "duration": payload["duration"],
            "scheduleStart": written(self.charger.now_ms()),
            "chargingRateUnit": payload.get("chargingRateUnit", "W"),
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": round(limit, 1)}],
        }
        return {"status": "Accepted", "schedule": schedule}, None

    def _on_DataTransfer(self, payload: Payload) -> Answer:  # noqa: N802
        known = payload["vendorId"] == self.charger.vendor
        return {"status": "Accepted" if known else "UnknownVendorId"}, None

    def _on_ClearCache(self, _payload: Payload) -> Answer:  # noqa: N802
        return {"status": "Accepted"}, None

    def _on_GetLocalListVersion(self, _payload: Payload) -> Answer:  # noqa: N802
        return {"versionNumber": self.charger.local_list_version}, None

    def _on_SendLocalList(self, payload: Payload) -> Answer:  # noqa: N802
        version = payload["versionNumber"]
        if payload["updateType"] != "Full" and version <= self.charger.local_list_version:
            return {"status": "VersionMismatch"}, None
        self.charger.local_list_version = version
        return {"status": "Accepted"}, None


def _token(tag: str, *, central: bool = False) -> Any:
    kind = enums.IdTokenEnumType.central if central else enums.IdTokenEnumType.iso14443
    return datatypes.IdTokenType(id_token=tag, type=kind)


def _for_each(sockets: list[Connector], act: Callable[[Connector], None]) -> Callable[[], None]:
    def run() -> None:
        for socket in sockets:
            act(socket)

    return run
