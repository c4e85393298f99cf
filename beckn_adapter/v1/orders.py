"""An order of ours in Beckn 1.1.0: its item and its fulfillment (BECKN 5.2 to 5.7). Pure.

Which words stand in a message follows from the order's state and the profile alone; what is known only while
charging comes in a `Progress`. Prices are `quotes`', payments `payments`' business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from beckn_adapter.catalog import CONNECTORS, ItemView, PowerType, charging_speed, clock
from beckn_adapter.speaking import Json, Progress, Shown, Speaker
from beckn_adapter.v1.members import plain
from beckn_adapter.v1.profiles import Plugs, Profile
from beckn_adapter.v1.quotes import OVER, quote_json
from beckn_adapter.v1.tags import group
from csms.domain.connector import Availability
from csms.domain.order import CancelledBy, Order, State, Want, WantKind
from csms.domain.refusal import Refusal
from csms.domain.tariff import rate_at, text
from csms.domain.units import from_minor, kwh, rfc3339

# V1's order status (core 1.1.1); before there is a binding order none is told.
_STATUS: Final[Mapping[State, str | None]] = {
    State.QUOTED: None,
    State.INITIALISED: None,
    **dict.fromkeys(
        (State.PAID, State.CONFIRMED, State.STARTING, State.ACTIVE, State.INTERRUPTED, State.STOPPING), "ACTIVE"
    ),
    State.COMPLETED: "COMPLETE",
    **dict.fromkeys((State.CANCELLED, State.EXPIRED, State.FAILED), "CANCELLED"),
}
# What a progress may say instead of the order's state, in V2's words.
_SESSION: Final[Mapping[str, State]] = {
    "PENDING": State.CONFIRMED,
    "ACTIVE": State.ACTIVE,
    "INTERRUPTED": State.INTERRUPTED,
    "COMPLETED": State.COMPLETED,
}
# What the charger would say where it has not said anything itself (OCPP 1.6).
_SOCKET: Final[Mapping[State, str]] = {
    State.STARTING: "Preparing",
    State.ACTIVE: "Charging",
    State.STOPPING: "Charging",
    State.INTERRUPTED: "Unavailable",
    State.COMPLETED: "Finishing",
}
MAX_SURGES: Final = 5
_INTERRUPTED: Final = "The charger is offline; only delivered energy is billed"


# --- the order ----------------------------------------------------------------------------------------------


def order_json(
    order: Order,
    shown: Shown,
    profile: Profile,
    speaker: Speaker,
    *,
    with_id: bool = True,
    with_ttl: bool = False,
    quote: Json | None = None,
    is_start: bool = False,
) -> Json:
    """The parts every callback shares. `with_ttl`: it is a quotation; `is_start`: the driver is about to begin."""
    written: Json = {}
    if with_id:
        written["id"] = order.order_id
    status = order_status(order)
    if with_id and status is not None:
        written["status"] = status
    item, wire = shown.item, order.wire
    name = item.provider.name if item is not None else speaker.provider_name
    provider_id = item.provider.provider_id if item is not None else speaker.provider_id
    written["provider"] = {"id": provider_id, **({"descriptor": {"name": name}} if name else {})}
    written["items"] = [item_json(order, item, profile)]
    if shown.offer is not None and order.offer_id is not None:
        written["offers"] = [{"id": shown.offer.offer_id, "descriptor": {"name": shown.offer.name}}]
    written["fulfillments"] = [fulfillment_json(order, shown, profile, speaker, is_start=is_start)]
    billing = wire.get("billing")
    if isinstance(billing, Mapping) and billing:
        written["billing"] = dict(billing)
    written["quote"] = quote if quote is not None else quote_json(order, profile, with_ttl=with_ttl)
    tags = _order_tags(order, profile)
    if tags:
        written["tags"] = tags
    return written


def order_status(order: Order) -> str | None:
    """V1 `order.status`. Charging that has ended is ACTIVE until its bill is final."""
    if order.state is State.COMPLETED and not order.is_billed:
        return "ACTIVE"
    return _STATUS[order.state]


def _order_tags(order: Order, profile: Profile) -> list[Json]:
    fee = order.terms.finder_fee
    if fee is None:
        return []
    entries = (("type", "Type", fee.kind.value), ("value", "Value", text(fee.value)))
    return [tag_group(profile, "buyer-finder-fee", "Buyer Finder Fee", entries)]


def tag_group(
    profile: Profile,
    code: str,
    name: str,
    entries: Sequence[tuple[str, str, str | None]],
    *,
    display: bool | None = None,
) -> Json:
    """A tag group in the profile's spelling of codes."""
    spelled = [(profile.spelling.code(entry), label, value) for entry, label, value in entries]
    return group(profile.spelling.code(code), name, spelled, display=display)


# --- the item -----------------------------------------------------------------------------------------------


def item_json(order: Order, item: ItemView | None, profile: Profile) -> Json:
    """The one connector, named as the buyer named it, with what was ordered and (billed) what was delivered."""
    asked = order.wire.get("item_id")
    written: Json = {"id": asked if isinstance(asked, str) else order.item_id}
    written["descriptor"] = {"code": profile.item_code, "name": item.title if item is not None else order.item_id}
    price = _unit_price(order, profile)
    if price is not None:
        written["price"] = price
    quantity: Json = {}
    selected = measure_json(order.want, order.wire.get("unit"))
    if selected is not None:
        quantity["selected"] = {"measure": selected}
    if order.delivered_wh is not None:
        quantity["allocated"] = {"measure": scalar(text(kwh(order.delivered_wh)), "kWh")}
    if quantity:
        written["quantity"] = quantity
    tags = [item_tags(item, profile)] if item is not None else []
    written["tags"] = [*tags, *_money_tags(order, profile)]
    if not written["tags"]:
        del written["tags"]
    return written


def scalar(value: str, unit: str) -> Json:
    return {"type": "CONSTANT", "value": value, "unit": unit}


def measure_json(want: Want, unit: object = None) -> Json | None:
    """What was asked for, in the buyer's own spelling of the unit where it means the same; None for open-ended."""
    said = unit if isinstance(unit, str) else None
    match want.kind:
        case WantKind.ENERGY:
            is_wh = said is not None and said.casefold() == "wh"
            return scalar(str(want.energy_wh or 0) if is_wh else text(kwh(want.energy_wh or 0)), said or "kWh")
        case WantKind.AMOUNT:
            return scalar(text(from_minor(want.amount_minor or 0)), said or "INR")
        case WantKind.TIME:
            hours = said is not None and said.casefold()[:1] == "h"
            minutes = Decimal(want.minutes or 0)
            return scalar(plain(round(minutes / 60, 4)) if hours else str(minutes), said or "MINUTES")
        case _:
            return None


def _unit_price(order: Order, profile: Profile) -> Json | None:
    """The price of one unit in the order's own terms, which never change once quoted."""
    tariff = order.terms.tariff
    try:
        rate = rate_at(tariff, order.slot.start_ms if order.slot is not None else order.quoted_at_ms)
    except Refusal:  # a slot may reach into hours without a price; the quotation says what was priced
        return None
    is_by_time = not rate.per_kwh and bool(rate.per_minute)
    price, unit = (rate.per_minute, "min") if is_by_time else (rate.per_kwh, profile.kwh)
    return {"value": text(price), "currency": f"{tariff.currency}/{unit}"}


def item_tags(item: ItemView, profile: Profile) -> Json:
    """What the connector is and how it stands, in the profile's words."""
    is_dc = item.power_type is PowerType.DC
    words = {
        "connector-id": ("connector Id", item.item_id.rsplit("*", 1)[-1]),
        "charger-type": ("Charger Type", "DC" if is_dc else "AC"),
        "power-type": ("Power Type", item.power_type.value if item.power_type is not None else ""),
        "connector-type": ("Connector Type", plug_word(item, profile.plugs)),
        "connector-format": ("Connector Format", item.format.value if item.format is not None else ""),
        "charging-speed": (
            "Charging Speed",
            charging_speed(item.power_type, item.max_power_w) if item.power_type is not None else "",
        ),
        "power-rating": ("Power Rating", f"{text(kwh(item.max_power_w))}kW"),
        "availability": ("Availability", profile.availability[availability_of(item)]),
        "status": ("Status", profile.availability[availability_of(item)]),
    }
    entries = [(code, *words[code]) for code in profile.item_tags if words[code][1]]
    return tag_group(profile, "connector-specifications", "Connector Specifications", entries)


def plug_word(item: ItemView, plugs: Plugs) -> str:
    """The connector in the spelling the network wants; one OCPI has no word for keeps its plain name."""
    known = CONNECTORS.get(item.connector)
    if known is None:
        return item.connector
    if plugs is Plugs.PLAIN or not known.ocpi:
        return known.label
    # GB/T has two codes, alternating and direct; the others with several mean the first by default.
    is_dc_word = item.power_type is PowerType.DC and known.ocpi[-1].endswith("_DC")
    word = known.ocpi[-1] if is_dc_word else known.ocpi[0]
    return word if plugs is Plugs.OCPI_UPPER else word.lower()


def availability_of(item: ItemView) -> Availability:
    """The state of now, or what the catalogue's yes or no amounts to where nothing finer may be told."""
    if item.availability is not None:
        return item.availability
    return Availability.AVAILABLE if item.is_active else Availability.UNAVAILABLE


def _money_tags(order: Order, profile: Profile) -> list[Json]:
    """Surcharges and the loyalty discount of this order's terms, as details beside their lines (BECKN 5.7)."""
    tariff, loyalty, groups = order.terms.tariff, order.terms.loyalty, []
    entries: list[tuple[str, str, str | None]] = []
    if tariff.surge_percent:
        entries.append(("peak-hour-surcharge", "Peak Hour Surcharge", f"{text(tariff.surge_percent)}%"))
    for surge in tariff.surges[:MAX_SURGES]:
        percent = f"{text(surge.percent)}%" if surge.percent else ""
        more = f"{text(surge.per_kwh)} {tariff.currency}/kWh" if surge.per_kwh else ""
        entries.append(("peak-hour-surcharge", surge.label, " + ".join(part for part in (percent, more) if part)))
        entries.append(("peak-hours", "Peak Hours", f"{clock(surge.from_minute)}-{clock(surge.to_minute)}"))
    if tariff.surcharge_per_kwh:
        amount = f"{text(tariff.surcharge_per_kwh)} {tariff.currency}/kWh"
        entries.append(("location-surcharge", "Location Surcharge", amount))
        entries.append(("surcharge-reason", "Surcharge Reason", tariff.surcharge_label))
    if entries:
        groups.append(tag_group(profile, "surcharge-details", "Surcharge Details", entries))
    if loyalty is not None:
        benefit = f"{text(loyalty.percent)}%" if loyalty.percent else f"{text(loyalty.flat)} {tariff.currency}"
        benefits = [("discount", loyalty.label, benefit)]
        groups.append(tag_group(profile, "loyalty-benefits", "Loyalty Benefits", benefits))
    return groups


# --- the fulfillment ----------------------------------------------------------------------------------------


def fulfillment_json(order: Order, shown: Shown, profile: Profile, speaker: Speaker, *, is_start: bool = False) -> Json:
    """The charging: where it stands, when, and what the meter says."""
    asked, item = order.wire.get("fulfillment_id"), shown.item
    progress = shown.progress if shown.progress is not None else Progress()
    written: Json = {"id": asked if isinstance(asked, str) else fulfillment_id(order.item_id), "type": "CHARGING"}
    state = _state_json(order, progress, profile, speaker)
    if state is not None:
        written["state"] = state
    for name in ("customer", "vehicle"):
        echoed = order.wire.get(name)
        if isinstance(echoed, Mapping) and echoed:
            written[name] = dict(echoed)
    written["stops"] = _stops(order, shown, profile, speaker, is_start=is_start)
    tags = [point_tags(item, profile)] if item is not None and profile.point_tags else []
    details = charging_details(order, progress, profile)
    if details is not None:
        tags.append(details)
    if tags:
        written["tags"] = tags
    return written


def fulfillment_id(item_id: str) -> str:
    """Where a connector's charging stands in a catalogue; stable, so that an order can name it."""
    return f"f-{item_id}"


def point_tags(item: ItemView, profile: Profile) -> Json:
    """The charging point behind the connector."""
    availability = availability_of(item)
    words = {
        "charger-id": (item.station.name, item.evse_id),
        "availability": ("Availability", "Offline" if availability is Availability.OFFLINE else "Online"),
        "charger-type": ("Charger Type", "DC" if item.power_type is PowerType.DC else "AC"),
        "power-rating": ("Power Rating", f"{text(kwh(item.max_power_w))}kW"),
    }
    entries = [(code, *words[code]) for code in profile.point_tags]
    return tag_group(profile, "charging-point-specifications", "Charging Point Specifications", entries)


def _state_json(order: Order, progress: Progress, profile: Profile, speaker: Speaker) -> Json | None:
    state = _SESSION.get(progress.session_status or "", order.state)
    code = profile.state_codes[state]
    if (state is State.CANCELLED and order.cancelled_by is CancelledBy.PROVIDER) or state is State.FAILED:
        code = profile.provider_failed_code
    if code is None:
        return None
    descriptor: Json = {"code": code}
    if state is State.INTERRUPTED:
        descriptor["name"] = _INTERRUPTED
    if profile.has_socket_status and state not in OVER:
        said = progress.socket_status if progress.socket_status != "Occupied" else None
        said = said or _SOCKET.get(state)
        if state is State.INTERRUPTED and said != "Faulted":
            said = "Unavailable"  # what it said before it fell silent is over (BECKN 6.1, 6.2)
        if said is not None:
            fault = "OtherError" if said == "Faulted" else "NoError"
            status = {"connectorId": order.connector, "status": said, "errorCode": fault}
            descriptor["long_desc"] = json.dumps(status, separators=(",", ":"))
    return {
        "descriptor": descriptor,
        "updated_at": rfc3339(_since_ms(order, state)),
        "updated_by": speaker.bpp.subscriber_id,
    }


def _since_ms(order: Order, state: State) -> int:
    """Since when it is so, as far as the order knows."""
    known: Mapping[State, int | None] = {
        State.CONFIRMED: order.confirmed_at_ms,
        State.STARTING: order.confirmed_at_ms,
        State.ACTIVE: order.started_at_ms,
        State.STOPPING: order.started_at_ms,
        State.INTERRUPTED: order.interrupted_at_ms,
        State.COMPLETED: order.ended_at_ms,
        State.CANCELLED: order.cancelled_at_ms,
        State.PAID: order.payment.paid_at_ms if order.payment is not None else None,
    }
    return known.get(state) or order.started_at_ms or order.confirmed_at_ms or order.quoted_at_ms


def _stops(order: Order, shown: Shown, profile: Profile, speaker: Speaker, *, is_start: bool) -> list[Json]:
    """Where it begins and ends: the real times once there are any, else the slot granted, else what was asked."""
    item = shown.item
    start: Json = {"type": profile.stop_types[0]}
    finish: Json = {"type": profile.stop_types[1]}
    start_ms, end_ms = _times(order)
    if start_ms is not None:
        start["time"] = {"timestamp": rfc3339(start_ms)}
    if end_ms is not None:
        finish["time"] = {"timestamp": rfc3339(end_ms)}
    if item is not None:
        start["location"] = {"gps": gps(item), "descriptor": {"name": item.station.name}}
    if is_start:
        start["instructions"] = {"name": "Charging instructions", "short_desc": _instructions(order, item, speaker)}
    is_asked = speaker.asks_otp or shown.asks_otp
    if is_asked and order.state in (State.INITIALISED, State.PAID, State.CONFIRMED, State.STARTING):
        start["authorization"] = {"type": "OTP"}
    return [start, finish]


def _times(order: Order) -> tuple[int | None, int | None]:
    start_ms, end_ms = order.started_at_ms, order.ended_at_ms
    if order.slot is not None:
        return start_ms or order.slot.start_ms, end_ms or order.slot.end_ms
    asked = order.wire.get("window")
    if isinstance(asked, list | tuple) and len(asked) == 2 and order.state in (State.QUOTED, State.INITIALISED):
        begin, finish = (one if isinstance(one, int) and one > 0 else None for one in asked)
        return start_ms or begin, end_ms or finish
    return start_ms, end_ms


def _instructions(order: Order, item: ItemView | None, speaker: Speaker) -> str:
    place = item.evse_id if item is not None else order.item_id
    said = f"Plug in at {place}, then start charging in your app."
    if order.slot is not None and speaker.grace_minutes is not None:
        said += f" The slot is kept {speaker.grace_minutes} minutes."
    return said


def gps(item: ItemView) -> str:
    """`lat,lon`, as this generation has it."""
    return f"{item.station.lat:.6f},{item.station.lon:.6f}"


def charging_details(order: Order, progress: Progress, profile: Profile) -> Json | None:
    """The telemetry of a session, newest values (BECKN 6.3); None before anything is known."""
    latest = {}
    for sample in sorted(progress.telemetry, key=lambda one: one.at_ms):
        for name in ("soc_percent", "power_w", "current_ma", "voltage_mv", "energy_wh"):
            value = getattr(sample, name)
            if value is not None:
                latest[name] = value
    energy_wh = order.delivered_wh if order.is_billed else progress.energy_wh
    if energy_wh is None:
        energy_wh = latest.get("energy_wh")
    start_ms = progress.started_ms or order.started_at_ms
    stop_ms = progress.ended_ms or order.ended_at_ms
    values = (
        ("energy-delivered", "Energy Delivered", _thousandths(energy_wh, "kWh")),
        ("soc", "State of Charge", None if "soc_percent" not in latest else f"{latest['soc_percent']}%"),
        ("start-time", "Start Time", None if start_ms is None else rfc3339(start_ms)),
        ("stop-time", "Stop Time", None if stop_ms is None else rfc3339(stop_ms)),
        ("meter-start", "Meter Start", _whole(progress.meter_start_wh)),
        ("meter-stop", "Meter Stop", _whole(progress.meter_stop_wh)),
        ("current", "Current", _thousandths(latest.get("current_ma"), "A")),
        ("power", "Power", _thousandths(latest.get("power_w"), "kW")),
        ("voltage", "Voltage", _thousandths(latest.get("voltage_mv"), "V")),
    )
    entries = [entry for entry in values if entry[2] is not None]
    if order.session_id is None and energy_wh is None:
        return None
    return tag_group(profile, "charging-details", "Charging Details", entries, display=True) if entries else None


def _thousandths(value: int | None, unit: str) -> str | None:
    return None if value is None else f"{text(kwh(value))}{unit}"


def _whole(value: int | None) -> str | None:
    return None if value is None else str(value)
