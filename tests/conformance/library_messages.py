"""One example of every OCPP message of both versions, with as many optional members as make sense together.

`ASKED…` is what the central system may ask: action -> (the payload in OCPP's words, the charger's answer in the words
of the `ocpp` package). `said…` is what a charger says beside sessions, as objects of that package, with what each
answer must be.
"""

from __future__ import annotations

from typing import Any, Final

from ocpp.v16 import call as call16
from ocpp.v201 import call as call201
from wire import at

Payload = dict[str, Any]
Asked = dict[str, tuple[Payload, Payload]]

ACCEPTED: Final = {"status": "Accepted"}
SOON, LATER = at(3600), at(7200)
PEM: Final = "-----BEGIN CERTIFICATE-----\nMIIBsTCCAVigAwIBAgIUb3JnLmV4YW1wbGU=\n-----END CERTIFICATE-----\n"
CSR: Final = (
    "-----BEGIN CERTIFICATE REQUEST-----\nMIHnMIGOAgEAMCwxCzAJBgNVBAYTAklO\n-----END CERTIFICATE REQUEST-----\n"
)
HASH: Final = {"hashAlgorithm": "SHA256", "issuerNameHash": "a1", "issuerKeyHash": "b2", "serialNumber": "c3"}
HASH_READ: Final = {
    "hash_algorithm": "SHA256", "issuer_name_hash": "a1", "issuer_key_hash": "b2", "serial_number": "c3",
}  # fmt: skip


def profile16(purpose: str, **more: Any) -> Payload:
    """A charging profile of 1.6 with two periods."""
    return {
        "chargingProfileId": 41, "stackLevel": 2, "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Recurring", "recurrencyKind": "Daily", "validFrom": SOON, "validTo": LATER,
        "chargingSchedule": {
            "duration": 3600, "startSchedule": SOON, "chargingRateUnit": "W",
            "chargingSchedulePeriod": [
                {"startPeriod": 0, "limit": 7200.5, "numberPhases": 3}, {"startPeriod": 600, "limit": 3600.1},
            ],
            "minChargingRate": 600.2,
        }, **more,
    }  # fmt: skip


ASKED16: Final[Asked] = {
    "CancelReservation": ({"reservationId": 99999}, {"status": "Rejected"}),
    "CertificateSigned": ({"certificateChain": PEM}, ACCEPTED),
    "ChangeAvailability": ({"connectorId": 1, "type": "Inoperative"}, {"status": "Scheduled"}),
    "ChangeConfiguration": ({"key": "MeterValueSampleInterval", "value": "10"}, {"status": "RebootRequired"}),
    "ClearCache": ({}, ACCEPTED),
    "ClearChargingProfile": (
        {"id": 1, "connectorId": 1, "chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 2},
        {"status": "Unknown"},
    ),
    "DataTransfer": (
        {"vendorId": "org.example", "messageId": "m", "data": '{"a":[1,2]}'},
        {"status": "Accepted", "data": "x"},
    ),
    "DeleteCertificate": ({"certificateHashData": HASH}, {"status": "NotFound"}),
    "ExtendedTriggerMessage": ({"requestedMessage": "LogStatusNotification", "connectorId": 1}, ACCEPTED),
    "GetCompositeSchedule": (
        {"connectorId": 1, "duration": 600, "chargingRateUnit": "W"},
        {
            "status": "Accepted", "connector_id": 1, "schedule_start": SOON,
            "charging_schedule": {
                "duration": 600, "charging_rate_unit": "W",
                "charging_schedule_period": [{"start_period": 0, "limit": 11000.0}],
            },
        },
    ),
    "GetConfiguration": (
        {"key": ["HeartbeatInterval", "Unheard"]},
        {
            "configuration_key": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}],
            "unknown_key": ["Unheard"],
        },
    ),
    "GetDiagnostics": (
        {
            "location": "ftp://files.example/in", "retries": 1, "retryInterval": 60, "startTime": SOON,
            "stopTime": LATER,
        },
        {"file_name": "diagnostics.zip"},
    ),
    "GetInstalledCertificateIds": (
        {"certificateType": "ManufacturerRootCertificate"},
        {"status": "Accepted", "certificate_hash_data": [HASH_READ]},
    ),
    "GetLocalListVersion": ({}, {"list_version": 0}),
    "GetLog": (
        {
            "log": {"remoteLocation": "https://files.example/in", "oldestTimestamp": SOON, "latestTimestamp": LATER},
            "logType": "SecurityLog", "requestId": 7, "retries": 2, "retryInterval": 30,
        },
        {"status": "Accepted", "filename": "log.txt"},
    ),
    "InstallCertificate": ({"certificateType": "ManufacturerRootCertificate", "certificate": PEM}, ACCEPTED),
    "RemoteStartTransaction": (
        {"connectorId": 1, "idTag": "NOBODY", "chargingProfile": profile16("TxProfile")},
        {"status": "Rejected"},
    ),
    "RemoteStopTransaction": ({"transactionId": 99999}, {"status": "Rejected"}),
    "ReserveNow": (
        {"connectorId": 1, "expiryDate": LATER, "idTag": "TAG", "parentIdTag": "GROUP", "reservationId": 5},
        {"status": "Occupied"},
    ),
    "Reset": ({"type": "Soft"}, {"status": "Rejected"}),
    "SendLocalList": (
        {
            "listVersion": 3, "updateType": "Differential",
            "localAuthorizationList": [
                {"idTag": "TAG", "idTagInfo": {"expiryDate": LATER, "parentIdTag": "GROUP", "status": "Accepted"}},
                {"idTag": "GONE"},
            ],
        },
        {"status": "VersionMismatch"},
    ),
    "SetChargingProfile": ({"connectorId": 1, "csChargingProfiles": profile16("TxDefaultProfile")}, ACCEPTED),
    "SignedUpdateFirmware": (
        {
            "retries": 1, "retryInterval": 60, "requestId": 8,
            "firmware": {
                "location": "https://files.example/fw", "retrieveDateTime": SOON, "installDateTime": LATER,
                "signingCertificate": PEM, "signature": "c2ln",
            },
        },
        {"status": "InvalidCertificate"},
    ),
    "TriggerMessage": ({"requestedMessage": "StatusNotification", "connectorId": 1}, {"status": "NotImplemented"}),
    "UnlockConnector": ({"connectorId": 99}, {"status": "NotSupported"}),
    "UpdateFirmware": (
        {"location": "ftp://files.example/fw", "retries": 1, "retrieveDate": SOON, "retryInterval": 60},
        {},
    ),
}  # fmt: skip


def said16() -> list[tuple[Any, Payload]]:
    """Beside sessions: (what is said, members its answer has)."""
    return [
        (call16.Heartbeat(), {}),
        (call16.StatusNotification(connector_id=0, error_code="NoError", status="Available"), {}),
        (
            call16.StatusNotification(
                connector_id=2, error_code="OtherError", status="Faulted", timestamp=at(), info="door open",
                vendor_id="org.example", vendor_error_code="E 17",
            ),
            {},
        ),
        (call16.Authorize(id_tag="NOBODY"), {"id_tag_info": {"status": "Invalid"}}),
        (
            call16.DataTransfer(vendor_id="org.example.unheard", message_id="m", data='{"a":1}'),
            {"status": "UnknownVendorId", "data": None},
        ),
        *((call16.DiagnosticsStatusNotification(status=word), {}) for word in ("Idle", "Uploading", "UploadFailed")),
        *((call16.FirmwareStatusNotification(status=word), {}) for word in ("Idle", "Downloading", "Installed")),
        (call16.LogStatusNotification(status="Uploading", request_id=3), {}),
        (call16.SignedFirmwareStatusNotification(status="InvalidSignature", request_id=3), {}),
        (
            call16.SecurityEventNotification(type="InvalidCentralSystemCertificate", timestamp=at(), tech_info="x"),
            {},
        ),
        (
            call16.MeterValues(
                connector_id=0,
                meter_value=[{"timestamp": at(), "sampled_value": [{"value": "77", "context": "Sample.Clock"}]}],
            ),
            {},
        ),
        (call16.SignCertificate(csr=CSR), {"status": ("Accepted", "Rejected")}),
    ]  # fmt: skip


# --- OCPP 2.0.1


def profile201(purpose: str, **more: Any) -> Payload:
    """A charging profile of 2.0.1 with two periods."""
    return {
        "id": 41, "stackLevel": 2, "chargingProfilePurpose": purpose, "chargingProfileKind": "Recurring",
        "recurrencyKind": "Weekly", "validFrom": SOON, "validTo": LATER,
        "chargingSchedule": [
            {
                "id": 42, "startSchedule": SOON, "duration": 3600, "chargingRateUnit": "A",
                "chargingSchedulePeriod": [
                    {"startPeriod": 0, "limit": 31.5, "numberPhases": 1, "phaseToUse": 2},
                    {"startPeriod": 600, "limit": 15.9},
                ],
                "minChargingRate": 6.1,
            }
        ], **more,
    }  # fmt: skip


HERE: Final = {"name": "Connector", "evse": {"id": 1, "connectorId": 1}}
FIELD: Final = {"name": "Temperature", "instance": "inlet"}
TOKEN: Final = {"idToken": "TAG", "type": "ISO14443"}
GROUP: Final = {"idToken": "GROUP", "type": "Central"}
OF: Final = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "OfflineThreshold"}}
INFO: Final = {"status_info": {"reason_code": "Because", "additional_info": "of a test"}}
MESSAGE: Final = {"format": "UTF8", "language": "en", "content": "Out of order"}

ASKED201: Final[Asked] = {
    "CancelReservation": ({"reservationId": 99999}, {"status": "Rejected", **INFO}),
    "CertificateSigned": (
        {"certificateChain": PEM, "certificateType": "ChargingStationCertificate"},
        {"status": "Rejected", **INFO},
    ),
    "ChangeAvailability": (
        {"evse": {"id": 1, "connectorId": 1}, "operationalStatus": "Inoperative"},
        {"status": "Scheduled"},
    ),
    "ClearCache": ({}, {"status": "Rejected"}),
    "ClearChargingProfile": (
        {
            "chargingProfileId": 1,
            "chargingProfileCriteria": {
                "evseId": 1, "chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 2,
            },
        },
        {"status": "Unknown"},
    ),
    "ClearDisplayMessage": ({"id": 4}, {"status": "Unknown"}),
    "ClearVariableMonitoring": (
        {"id": [1, 2]},
        {"clear_monitoring_result": [{"status": "Accepted", "id": 1}, {"status": "NotFound", "id": 2}]},
    ),
    "CostUpdated": ({"totalCost": 12.5, "transactionId": "tx-unheard"}, {}),
    "CustomerInformation": (
        {"requestId": 9, "report": True, "clear": False, "idToken": TOKEN},
        {"status": "Accepted"},
    ),
    "DataTransfer": (
        {"messageId": "m", "data": {"a": [1, {"b": "c"}]}, "vendorId": "org.example"},
        {"status": "Accepted", "data": {"d": 1}},
    ),
    "DeleteCertificate": ({"certificateHashData": HASH}, {"status": "NotFound"}),
    "GetBaseReport": ({"requestId": 10, "reportBase": "SummaryInventory"}, {"status": "EmptyResultSet"}),
    "GetChargingProfiles": (
        {
            "requestId": 11, "evseId": 1,
            "chargingProfile": {
                "chargingProfilePurpose": "TxProfile", "stackLevel": 2, "chargingLimitSource": ["CSO", "EMS"],
            },
        },
        {"status": "NoProfiles"},
    ),
    "GetCompositeSchedule": (
        {"duration": 600, "chargingRateUnit": "W", "evseId": 1},
        {
            "status": "Accepted",
            "schedule": {
                "evse_id": 1, "duration": 600, "schedule_start": SOON, "charging_rate_unit": "W",
                "charging_schedule_period": [{"start_period": 0, "limit": 11000.0}],
            },
        },
    ),
    "GetDisplayMessages": (
        {"id": [1, 2], "requestId": 12, "priority": "InFront", "state": "Idle"},
        {"status": "Unknown"},
    ),
    "GetInstalledCertificateIds": (
        {"certificateType": ["CSMSRootCertificate", "ManufacturerRootCertificate"]},
        {
            "status": "Accepted",
            "certificate_hash_data_chain": [
                {"certificate_type": "ManufacturerRootCertificate", "certificate_hash_data": HASH_READ}
            ],
        },
    ),
    "GetLocalListVersion": ({}, {"version_number": 0}),
    "GetLog": (
        {
            "log": {"remoteLocation": "https://files.example/in", "oldestTimestamp": SOON, "latestTimestamp": LATER},
            "logType": "DiagnosticsLog", "requestId": 13, "retries": 2, "retryInterval": 30,
        },
        {"status": "Accepted", "filename": "log.txt"},
    ),
    "GetMonitoringReport": (
        {
            "componentVariable": [{"component": HERE, "variable": FIELD}], "requestId": 14,
            "monitoringCriteria": ["ThresholdMonitoring", "PeriodicMonitoring"],
        },
        {"status": "EmptyResultSet"},
    ),
    "GetReport": (
        {
            "componentVariable": [{"component": HERE, "variable": FIELD}], "requestId": 15,
            "componentCriteria": ["Active", "Problem"],
        },
        {"status": "EmptyResultSet"},
    ),
    "GetTransactionStatus": (
        {"transactionId": "tx-unheard"},
        {"messages_in_queue": False, "ongoing_indicator": False},
    ),
    "GetVariables": (
        {"getVariableData": [{"attributeType": "Target", **OF}]},
        {
            "get_variable_result": [
                {"attribute_status": "Accepted", "attribute_type": "Target", "attribute_value": "60", **OF}
            ]
        },
    ),
    "InstallCertificate": (
        {"certificateType": "ManufacturerRootCertificate", "certificate": PEM},
        {"status": "Failed"},
    ),
    "PublishFirmware": (
        {
            "location": "https://files.example/fw", "retries": 1, "checksum": "0" * 32, "requestId": 16,
            "retryInterval": 60,
        },
        {"status": "Rejected"},
    ),
    "RequestStartTransaction": (
        {
            "evseId": 1, "groupIdToken": GROUP, "idToken": {"idToken": "NOBODY", "type": "Central"},
            "remoteStartId": 17, "chargingProfile": profile201("TxProfile"),
        },
        {"status": "Rejected", **INFO},
    ),
    "RequestStopTransaction": ({"transactionId": "tx-unheard"}, {"status": "Rejected"}),
    "ReserveNow": (
        {
            "id": 18, "expiryDateTime": LATER, "connectorType": "cCCS2", "idToken": TOKEN, "evseId": 1,
            "groupIdToken": GROUP,
        },
        {"status": "Faulted"},
    ),
    "Reset": ({"type": "OnIdle", "evseId": 9}, {"status": "Rejected"}),
    "SendLocalList": (
        {
            "localAuthorizationList": [
                {
                    "idToken": {**TOKEN, "additionalInfo": [{"additionalIdToken": "EV-1", "type": "plate"}]},
                    "idTokenInfo": {
                        "status": "Accepted", "cacheExpiryDateTime": LATER, "chargingPriority": 1, "language1": "en",
                        "evseId": [1], "groupIdToken": GROUP, "language2": "hi", "personalMessage": MESSAGE,
                    },
                },
                {"idToken": {"idToken": "GONE", "type": "Central"}},
            ],
            "versionNumber": 3, "updateType": "Differential",
        },
        {"status": "VersionMismatch"},
    ),
    "SetChargingProfile": ({"evseId": 1, "chargingProfile": profile201("TxDefaultProfile")}, ACCEPTED),
    "SetDisplayMessage": (
        {
            "message": {
                "display": {"name": "Display", "evse": {"id": 1}}, "id": 19, "priority": "NormalCycle",
                "state": "Idle", "startDateTime": SOON, "endDateTime": LATER, "message": MESSAGE,
            }
        },
        {"status": "NotSupportedState"},
    ),
    "SetMonitoringBase": ({"monitoringBase": "FactoryDefault"}, ACCEPTED),
    "SetMonitoringLevel": ({"severity": 4}, ACCEPTED),
    "SetNetworkProfile": (
        {
            "configurationSlot": 2,
            "connectionData": {
                "apn": {
                    "apn": "iot.example", "apnUserName": "u", "apnPassword": "p", "simPin": 1234,
                    "preferredNetwork": "40445", "useOnlyPreferredNetwork": False, "apnAuthentication": "AUTO",
                },
                "ocppVersion": "OCPP20", "ocppTransport": "JSON", "ocppCsmsUrl": "wss://csms.example/ocpp",
                "messageTimeout": 60, "securityProfile": 1, "ocppInterface": "Wireless0",
                "vpn": {
                    "server": "vpn.example", "user": "u", "group": "g", "password": "p", "key": "k", "type": "IKEv2",
                },
            },
        },
        {"status": "Failed"},
    ),
    "SetVariableMonitoring": (
        {
            "setMonitoringData": [
                {
                    "id": 20, "transaction": False, "value": 80.5, "type": "UpperThreshold", "severity": 3,
                    "component": HERE, "variable": FIELD,
                }
            ]
        },
        {
            "set_monitoring_result": [
                {
                    "id": 20, "status": "Accepted", "type": "UpperThreshold", "severity": 3,
                    "component": {"name": "Connector", "evse": {"id": 1, "connector_id": 1}}, "variable": FIELD,
                }
            ]
        },
    ),
    "SetVariables": (
        {"setVariableData": [{"attributeType": "Actual", "attributeValue": "123", **OF}]},
        {"set_variable_result": [{"attribute_status": "RebootRequired", "attribute_type": "Actual", **OF}]},
    ),
    "TriggerMessage": (
        {"evse": {"id": 1, "connectorId": 1}, "requestedMessage": "StatusNotification"},
        {"status": "NotImplemented"},
    ),
    "UnlockConnector": ({"evseId": 9, "connectorId": 9}, {"status": "UnknownConnector"}),
    "UnpublishFirmware": ({"checksum": "0" * 32}, {"status": "NoFirmware"}),
    "UpdateFirmware": (
        {
            "retries": 1, "retryInterval": 60, "requestId": 21,
            "firmware": {
                "location": "https://files.example/fw", "retrieveDateTime": SOON, "installDateTime": LATER,
                "signingCertificate": PEM, "signature": "c2ln",
            },
        },
        {"status": "InvalidCertificate", **INFO},
    ),
}  # fmt: skip


def said201() -> list[tuple[Any, Payload]]:
    """Beside transactions: (what is said, members its answer has)."""
    here = {"name": "Connector", "evse": {"id": 1, "connector_id": 1}}
    schedule = {
        "id": 1, "charging_rate_unit": "A",
        "charging_schedule_period": [{"start_period": 0, "limit": 16.1, "number_phases": 3}],
    }  # fmt: skip
    profile = {
        "id": 1, "stack_level": 0, "charging_profile_purpose": "ChargingStationMaxProfile",
        "charging_profile_kind": "Relative", "charging_schedule": [schedule],
    }  # fmt: skip
    ocsp = {**HASH_READ, "responder_url": "http://127.0.0.1:9/ocsp"}
    event = {
        "event_id": 1, "timestamp": at(), "trigger": "Alerting", "actual_value": "81", "tech_code": "T1",
        "tech_info": "hot", "cleared": False, "component": here, "variable_monitoring_id": 20,
        "event_notification_type": "CustomMonitor", "variable": FIELD,
    }  # fmt: skip
    monitor = {
        "component": here, "variable": FIELD,
        "variable_monitoring": [
            {"id": 20, "transaction": False, "value": 80.5, "type": "UpperThreshold", "severity": 3}
        ],
    }  # fmt: skip
    variable = {
        "component": here, "variable": FIELD,
        "variable_attribute": [{"type": "Actual", "value": "21.5", "mutability": "ReadOnly"}],
        "variable_characteristics": {"unit": "Celsius", "data_type": "decimal", "supports_monitoring": True},
    }  # fmt: skip
    shown = {"id": 19, "priority": "NormalCycle", "state": "Idle", "message": MESSAGE}
    sample = {"value": 77.5, "context": "Sample.Clock", "unit_of_measure": {"unit": "kWh", "multiplier": 0}}
    ev_needs = {
        "requested_energy_transfer": "AC_three_phase", "departure_time": LATER,
        "ac_charging_parameters": {
            "energy_amount": 20000, "ev_min_current": 6, "ev_max_current": 32, "ev_max_voltage": 400,
        },
    }  # fmt: skip
    return [
        (call201.Heartbeat(), {}),
        (call201.StatusNotification(timestamp=at(), connector_status="Occupied", evse_id=1, connector_id=1), {}),
        (
            call201.Authorize(id_token={"id_token": "NOBODY", "type": "ISO14443"}),
            {"id_token_info": {"status": ("Invalid", "Unknown")}},
        ),
        (
            call201.DataTransfer(vendor_id="org.example.unheard", message_id="m", data={"a": [1]}),
            {"status": "UnknownVendorId"},
        ),
        (call201.MeterValues(evse_id=0, meter_value=[{"timestamp": at(), "sampled_value": [sample]}]), {}),
        (call201.FirmwareStatusNotification(status="DownloadScheduled", request_id=21), {}),
        (call201.LogStatusNotification(status="Uploading", request_id=13), {}),
        (call201.SecurityEventNotification(type="SettingSystemTime", timestamp=at(), tech_info="x"), {}),
        (call201.PublishFirmwareStatusNotification(status="Published", location=["http://lc/fw"], request_id=16), {}),
        (call201.ReservationStatusUpdate(reservation_id=99999, reservation_update_status="Expired"), {}),
        (
            call201.NotifyChargingLimit(
                charging_limit={"charging_limit_source": "EMS", "is_grid_critical": False},
                charging_schedule=[schedule],
                evse_id=1,
            ),
            {},
        ),
        (call201.ClearedChargingLimit(charging_limit_source="EMS", evse_id=1), {}),
        (
            call201.ReportChargingProfiles(
                request_id=11, charging_limit_source="CSO", charging_profile=[profile], evse_id=0, tbc=False
            ),
            {},
        ),
        (call201.NotifyReport(request_id=15, generated_at=at(), seq_no=0, report_data=[variable], tbc=False), {}),
        (call201.NotifyMonitoringReport(request_id=14, seq_no=0, generated_at=at(), monitor=[monitor]), {}),
        (call201.NotifyEvent(generated_at=at(), seq_no=0, event_data=[event], tbc=False), {}),
        (call201.NotifyCustomerInformation(data="none", seq_no=0, generated_at=at(), request_id=9), {}),
        (call201.NotifyDisplayMessages(request_id=12, message_info=[shown], tbc=False), {}),
        (
            call201.NotifyEVChargingNeeds(charging_needs=ev_needs, evse_id=1, max_schedule_tuples=3),
            {"status": ("Accepted", "Rejected", "Processing", "NoChargingProfile")},
        ),
        (
            call201.NotifyEVChargingSchedule(time_base=at(), charging_schedule=schedule, evse_id=1),
            {"status": ("Accepted", "Rejected")},
        ),
        (
            call201.SignCertificate(csr=CSR, certificate_type="ChargingStationCertificate"),
            {"status": ("Accepted", "Rejected")},
        ),
        (call201.GetCertificateStatus(ocsp_request_data=ocsp), {"status": ("Accepted", "Failed")}),
        (
            call201.Get15118EVCertificate(
                iso15118_schema_version="urn:iso:15118:2:2013:MsgDef", action="Install", exi_request="ZXhp"
            ),
            {"status": ("Accepted", "Failed")},
        ),
    ]  # fmt: skip
