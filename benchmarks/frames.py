"""What the load generator says: OCPP 1.6 calls as ready-made WebSocket frames, with the changing fields left open.

A frame is a `bytes % fields` away, because the load generator must cost less than the server it loads. All
changing fields have a fixed width, so the WebSocket header is right for every filling. The mask bit is set
(RFC 6455 5.3) and the key is zero: unmasking costs the server the same, and the payload can be filled in place.

Time in the frames is virtual: one second and 2 Wh per message (7.2 kW), starting two hours back, so that no message is
a repeat of another and the server really stores each one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

MASKED = 0x80
TEXT_FINAL = 0x81
CLOSE_FINAL = 0x88
PONG_FINAL = 0x8A
ZERO_KEY = b"\0\0\0\0"

FIRST_REGISTER_WH = 100_000_000  # nine digits, so that the width never changes
STEP_WH = 2

ID_WIDTH, AT_WIDTH, REGISTER_WIDTH, POWER_WIDTH = 10, 24, 9, 4


def header(length: int, opcode: int = TEXT_FINAL) -> bytes:
    """Client header of an unfragmented frame with `length` bytes of payload (RFC 6455 5.2)."""
    if length < 126:
        return bytes((opcode, MASKED | length)) + ZERO_KEY
    return bytes((opcode, MASKED | 126)) + length.to_bytes(2, "big") + ZERO_KEY


def frame(payload: bytes, opcode: int = TEXT_FINAL) -> bytes:
    """One client frame around `payload`."""
    return header(len(payload), opcode) + payload


class Form:
    """A call with open fields, written `<id>`, `<at>`, `<register>`, `<power>`, and `<tx>` and `<tag>`, bound earlier.

    `bind(...)` gives a template for `template % (id, at, …)`, the fields in the order in which the text names them.
    """

    WIDTHS: ClassVar = {b"<id>": ID_WIDTH, b"<at>": AT_WIDTH, b"<register>": REGISTER_WIDTH, b"<power>": POWER_WIDTH}

    def __init__(self, text: str) -> None:
        payload = text.encode().replace(b"%", b"%%")
        self._length = len(text)
        for field, width in self.WIDTHS.items():
            self._length += payload.count(field) * (width - len(field))
            payload = payload.replace(field, b"%b")
        self._payload = payload

    def bind(self, *, tx: bytes = b"", tag: bytes = b"") -> bytes:
        """The template for one transaction and one token."""
        length = self._length
        for field, value in ((b"<tx>", tx), (b"<tag>", tag)):
            length += self._payload.count(field) * (len(value) - len(field))
        # A length byte may be 0x25, which is a percent sign to the formatter.
        head = header(length).replace(b"%", b"%%")
        return head + self._payload.replace(b"<tx>", tx).replace(b"<tag>", tag)


BOOT = Form(
    '[2,"<id>","BootNotification",{"chargePointVendor":"Bench","chargePointModel":"Load16",'
    '"chargePointSerialNumber":"L16-0001","firmwareVersion":"1.0.0","meterType":"Bench meter"}]'
)
HEARTBEAT = Form('[2,"<id>","Heartbeat",{}]')
AUTHORIZE = Form('[2,"<id>","Authorize",{"idTag":"<tag>"}]')
START = Form(
    '[2,"<id>","StartTransaction",{"connectorId":1,"idTag":"<tag>","meterStart":<register>,"timestamp":"<at>"}]'
)
STOP = Form(
    '[2,"<id>","StopTransaction",'
    '{"transactionId":<tx>,"idTag":"<tag>","meterStop":<register>,"timestamp":"<at>","reason":"Local"}]'
)


def _status(status: str) -> Form:
    return Form(
        '[2,"<id>","StatusNotification",'
        f'{{"connectorId":1,"errorCode":"NoError","status":"{status}","timestamp":"<at>"}}]'
    )


PREPARING, CHARGING, FINISHING, AVAILABLE = map(_status, ("Preparing", "Charging", "Finishing", "Available"))


def _sample(value: str, measurand: str, unit: str, *rest: str) -> str:
    return ",".join((f'{{"value":"{value}","measurand":"{measurand}"', *rest, f'"unit":"{unit}"}}'))


_PERIODIC, _OUTLET = '"context":"Sample.Periodic"', '"location":"Outlet"'

# Eight sampled values, about 870 bytes, as a three-phase AC charger sends them.
METER_VALUES = Form(
    '[2,"<id>","MeterValues",{"connectorId":1,"transactionId":<tx>,"meterValue":[{"timestamp":"<at>","sampledValue":['
    + ",".join(
        (
            _sample("<register>", "Energy.Active.Import.Register", "Wh", _PERIODIC, _OUTLET),
            _sample("<power>", "Power.Active.Import", "W", _PERIODIC, _OUTLET),
            _sample("10.4", "Current.Import", "A", _PERIODIC, '"phase":"L1"'),
            _sample("10.5", "Current.Import", "A", _PERIODIC, '"phase":"L2"'),
            _sample("10.4", "Current.Import", "A", _PERIODIC, '"phase":"L3"'),
            _sample("230.1", "Voltage", "V", '"phase":"L1-N"'),
            _sample("229.8", "Voltage", "V", '"phase":"L2-N"'),
            _sample("230.4", "Voltage", "V", '"phase":"L3-N"'),
        )
    )
    + "]}]}]"
)


class Timeline:
    """The virtual clock and register shared by all chargers; every charger stands at its own step of it."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self.stamps: list[bytes] = []
        self.registers: list[bytes] = []
        self.powers: list[bytes] = []
        self.reach(1024)

    @classmethod
    def hours_back(cls, hours: float) -> Timeline:
        """A timeline that began some hours ago: 3,600 steps per hour before its time is in the future."""
        return cls(datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours))

    def reach(self, step: int) -> None:
        """Write the fields of all steps up to `step`, so that the hot loop only picks them."""
        for n in range(len(self.stamps), step + 1):
            at = self._start + timedelta(seconds=n)
            self.stamps.append(at.strftime("%Y-%m-%dT%H:%M:%S.000Z").encode())
            self.registers.append(b"%09d" % (FIRST_REGISTER_WH + STEP_WH * n))
            self.powers.append(b"%04d" % (7200 + n % 89))
