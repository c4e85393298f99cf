"""The words of each network that speaks Beckn 1.1.0, as data (BECKN 5.2, 6.1, 6.2). One codec reads them.

A new network of this generation is a new `Profile` here (or a domain mapped to one of these), never a new branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from csms.domain.breakdown import Role
from csms.domain.connector import Availability
from csms.domain.order import State


class Spelling(StrEnum):
    """How the codes of tag groups and entries are written."""

    KEBAB = "kebab"  # connector-type
    SNAKE_PASCAL = "snake-pascal"  # Connector_Type

    def code(self, kebab: str) -> str:
        """`connector-type` in this spelling."""
        if self is Spelling.KEBAB:
            return kebab
        return "_".join(part[:1].upper() + part[1:] for part in kebab.split("-"))


class Plugs(StrEnum):
    """How connectors are spelled (BECKN 7.2, row 46 of 9)."""

    PLAIN = "plain"  # CCS2
    OCPI_LOWER = "ocpi_lower"  # iec_62196_t2_combo
    OCPI_UPPER = "ocpi_upper"  # IEC_62196_T2_COMBO


class Terms(StrEnum):
    """How the price of cancelling is told before confirming (BECKN 5.5)."""

    CANCELLATION = "cancellation"  # what it costs
    REFUND = "refund"  # what comes back


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One network's words.

    `item_tags` and `point_tags` name the entries of an item's and of a fulfillment's tag group, in order; without
    `point_tags` there is no such group. `titles` are templates over what `orders.title_of` knows of a line; a role
    without one is shown with its own description. `state_codes` has None where no state is told.
    """

    network: str
    domains: tuple[str, ...]
    item_code_found: str
    item_code: str
    stop_types: tuple[str, str]
    item_tags: tuple[str, ...]
    availability: Mapping[Availability, str]
    state_codes: Mapping[State, str | None]
    provider_failed_code: str
    titles: Mapping[Role, str]
    point_tags: tuple[str, ...] = ()
    spelling: Spelling = Spelling.KEBAB
    plugs: Plugs = Plugs.PLAIN
    payment_type: str = "PRE-ORDER"
    collectors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"BPP": "bpp", "BAP": "bap"}))
    kwh: str = "kWh"  # in the currency of a unit price, as every guide writes it
    terms: Terms = Terms.CANCELLATION
    has_slots: bool = False  # free slots stand in on_search, and a walk-in is an item of its own
    has_error_type: bool = False  # closed rule sets have no room for it (BECKN 5.8)
    has_socket_status: bool = False  # the state says what the charger says, as JSON text
    shows_returns: bool = False  # what goes back of a payment stands in the breakup too


# --- words shared by several networks -----------------------------------------------------------------------

_A = Availability
OCPP_WORDS: Final[Mapping[Availability, str]] = MappingProxyType(
    {
        _A.AVAILABLE: "Available",
        _A.PREPARING: "Preparing",
        _A.CHARGING: "Charging",
        _A.SUSPENDED_EV: "SuspendedEV",
        _A.SUSPENDED_EVSE: "SuspendedEVSE",
        _A.FINISHING: "Finishing",
        _A.RESERVED: "Reserved",
        _A.UNAVAILABLE: "Unavailable",
        _A.FAULTED: "Faulted",
        _A.OFFLINE: "Unavailable",
    }
)
USAGE_WORDS: Final[Mapping[Availability, str]] = MappingProxyType(
    {
        _A.AVAILABLE: "Available",
        **dict.fromkeys(
            (_A.PREPARING, _A.CHARGING, _A.SUSPENDED_EV, _A.SUSPENDED_EVSE, _A.FINISHING, _A.RESERVED), "In Use"
        ),
        **dict.fromkeys((_A.UNAVAILABLE, _A.FAULTED, _A.OFFLINE), "Maintenance"),
    }
)

_S = State
UEI_STATES: Final[Mapping[State, str | None]] = MappingProxyType(
    {
        _S.QUOTED: None,
        _S.INITIALISED: "order-initiated",
        _S.PAID: "payment-completed",
        _S.CONFIRMED: "payment-completed",
        _S.STARTING: "payment-completed",
        _S.ACTIVE: "charging-started",
        _S.STOPPING: "charging-started",
        _S.INTERRUPTED: "charging-started",
        _S.COMPLETED: "charging-ended",
        _S.CANCELLED: "order-cancelled",
        _S.EXPIRED: "order-cancelled",
        _S.FAILED: "charger-error",
    }
)
DEG_STATES: Final[Mapping[State, str | None]] = MappingProxyType(
    {
        _S.QUOTED: None,
        _S.INITIALISED: "PENDING",
        _S.PAID: "PENDING",
        _S.CONFIRMED: "PENDING",
        _S.STARTING: "PENDING",
        _S.ACTIVE: "ACTIVE",
        _S.STOPPING: "ACTIVE",
        _S.INTERRUPTED: "CONNECTION-INTERRUPTED",
        _S.COMPLETED: "COMPLETED",
        _S.CANCELLED: "CANCELLED",
        _S.EXPIRED: "CANCELLED",
        _S.FAILED: "CANCELLED",
    }
)
DEG2_STATES: Final[Mapping[State, str | None]] = MappingProxyType(
    {
        **{state: None if code is None else code.upper().replace("-", "_") for state, code in UEI_STATES.items()},
        _S.INTERRUPTED: "CONNECTION_INTERRUPTED",
    }
)

_R = Role
UEI_TITLES: Final[Mapping[Role, str]] = MappingProxyType(
    {
        _R.ENERGY: "charging session cost",
        _R.TIME: "charging session cost",
        _R.SURGE: "surge price({inside}){label}",
        _R.DISCOUNT: "{discount} discount{off}",
        _R.SERVICE: "service-charge",
        _R.TAX: "gst",
        _R.FINDER: "buyer finder fee",
        _R.BUFFER: "overcharge estimation",
    }
)
DEG_TITLES: Final[Mapping[Role, str]] = MappingProxyType(
    {
        _R.ENERGY: "Charging session cost ({quantity})",
        _R.TIME: "Charging session cost ({quantity})",
        _R.SURGE: "surge price({inside}){label}",
        _R.LOCATION_SURCHARGE: "Location Surcharge ({inside})",
        _R.DISCOUNT: "{discount} discount{off}",
        _R.SERVICE: "Service Fee",
        _R.TAX: "{description}",
        _R.FINDER: "buyer finder fee",
        _R.BUFFER: "overcharge estimation",
    }
)

# --- the networks -------------------------------------------------------------------------------------------

UEI: Final = Profile(
    network="v1-uei",
    domains=("ev-charging:uei",),
    item_code_found="energy",
    item_code="energy",
    stop_types=("start", "finish"),
    item_tags=("connector-id", "charger-type", "connector-type", "power-rating", "availability"),
    point_tags=("charger-id", "availability", "charger-type", "power-rating"),
    availability=OCPP_WORDS,
    state_codes=UEI_STATES,
    provider_failed_code="charger-error",
    titles=UEI_TITLES,
    has_socket_status=True,
)
EOS: Final = replace(UEI, network="v1-eos", domains=("dent:ev-charging:0.1.0",), stop_types=("start", "end"))
DEG: Final = Profile(
    network="v1-deg",
    domains=("deg:ev-charging",),
    item_code_found="CHARGER",
    item_code="ev-charger",
    stop_types=("START", "STOP"),
    item_tags=(
        *("connector-id", "power-type", "connector-type", "connector-format", "charging-speed", "power-rating"),
        "status",
    ),
    availability=USAGE_WORDS,
    state_codes=DEG_STATES,
    provider_failed_code="CHARGER-ERROR",
    titles=DEG_TITLES,
    payment_type="PRE-FULFILLMENT",
    collectors=MappingProxyType({"BPP": "BPP", "BAP": "BAP"}),
    terms=Terms.REFUND,
    has_slots=True,
    has_error_type=True,
    shows_returns=True,
)
RFC: Final = replace(
    DEG,
    network="v1-rfc",
    domains=("ev-charging:beckn",),
    item_code_found="energy",
    item_code="energy",
    kwh="kWH",
    has_slots=False,
)
DEG2: Final = Profile(
    network="v1-deg2",
    domains=("charging",),
    item_code_found="energy",
    item_code="energy",
    stop_types=("START", "END"),
    item_tags=("connector-id", "charger-type", "connector-type", "power-rating", "availability"),
    point_tags=("charger-id", "availability"),
    availability=OCPP_WORDS,
    state_codes=DEG2_STATES,
    provider_failed_code="CHARGER_ERROR",
    titles=UEI_TITLES,
    spelling=Spelling.SNAKE_PASCAL,
    has_error_type=True,
)

PROFILES: Final = (UEI, DEG, EOS, RFC, DEG2)
DOMAINS: Final[Mapping[str, str]] = MappingProxyType(
    {domain: profile.network for profile in PROFILES for domain in profile.domains}
)


def profiles(uei_plugs: Plugs = Plugs.PLAIN) -> tuple[Profile, ...]:
    """Every network, the Indian energy interface with the spelling of plugs it is configured for."""
    return tuple(replace(profile, plugs=uei_plugs) if profile in (UEI, EOS) else profile for profile in PROFILES)
