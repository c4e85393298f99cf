"""How we speak, in no dialect yet: who we are, what is known of the charging, whom to ask. Codecs make words of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from beckn_adapter.catalog import ItemView, OfferView
from beckn_adapter.envelope import Endpoint

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who we are on the network and how it wants to be spoken to.

    `telemetry_units` "literal" pairs ENERGY with KW and POWER with KWH, as the pack's text has it by mistake.
    `empty_error` adds `"error": {}` to messages without one (the national network's profile).
    `asks_otp`: every driver shows a one-time password before charging starts.
    """

    bpp: Endpoint
    provider_id: str
    provider_name: str = ""
    connector_enum: str = "v1"
    telemetry_units: str = "physical"
    empty_error: bool = False
    settlement_account: Mapping[str, str] = field(default_factory=dict)
    grace_minutes: int | None = None
    asks_otp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One instant of a session. `energy_wh` counts from the session's start."""

    at_ms: int
    energy_wh: int | None = None
    power_w: int | None = None
    current_ma: int | None = None
    voltage_mv: int | None = None
    soc_percent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of the charging itself. Everything may be unknown.

    `session_status` overrides what the order's state says; `connector_status` is V2's word for the socket, and
    `socket_status` the charger's own (OCPP 1.6's ChargePointStatus).
    """

    session_status: str | None = None
    energy_wh: int | None = None
    minutes: int | None = None
    telemetry: tuple[Sample, ...] = ()
    connector_status: str | None = None
    socket_status: str | None = None
    last_updated_ms: int | None = None
    tracking_url: str | None = None
    reservation_id: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    meter_start_wh: int | None = None
    meter_stop_wh: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is shown beside an order. `asks_otp`: its driver was sent a one-time password and has not shown it yet."""

    item: ItemView | None = None
    offer: OfferView | None = None
    progress: Progress | None = None
    asks_otp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What all ratings of a thing come to."""

    value: float
    count: int
    best: float = 5
    worst: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Where buyers are helped. `ticket` is the number under which their question is kept."""

    name: str | None = None
    phone: str | None = None
    email: str | None = None
    url: str | None = None
    hours: str | None = None
    channels: tuple[str, ...] = ()
    ticket: str | None = None
