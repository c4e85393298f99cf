"""The closed list of quirk words: how chargers are odd, never who is odd (ADR 0006, OCPP.md 6.3).

A station's words are its own (set by an operator) and those of its profile, as one frozenset of texts; whoever is
concerned asks `WORD in quirks`, or `number_of(quirks, NAME)` where a number belongs to the word.
A word that is not in `QUIRKS` is refused wherever words come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

NO_QUIRKS: Final[frozenset[str]] = frozenset()

NO_SERVER_PING: Final = "no_server_ping"
DEFAULT_SUBPROTOCOL: Final = "default_subprotocol"
ID_FROM_QUERY: Final = "id_from_query"
PASSWORD_HEX_AS_TEXT: Final = "password_hex_as_text"  # noqa: S105 - a word
TLS_RELIC: Final = "tls_relic"
TZ_MISSING_IST: Final = "tz_missing=IST"
IST_SENT_AS_Z: Final = "ist_sent_as_z"
ENERGY_SAMPLES_ARE_KWH: Final = "energy_unit_override=kWh"
START_STOP_ARE_KWH: Final = "start_stop_unit_override=kWh"
REGISTER_PER_SESSION: Final = "register_scope=SESSION"
REGISTER_PER_INTERVAL: Final = "register_scope=INTERVAL"
TX0_MEANS_UNKNOWN: Final = "tx0_means_unknown"
METER_VALUE_OBJECT: Final = "meter_value_object"
NUMBERS_FOR_STRINGS: Final = "numbers_for_strings"
UNKNOWN_ERROR_CODE_AS_TEXT: Final = "unknown_error_code_as_text"
BOOT_ON_RECONNECT: Final = "boot_on_reconnect_is_not_reboot"
NO_QUEUE_OFFLINE: Final = "no_queue_offline"
MAX_KEYS_PER_GET: Final = "max_keys_per_get"
ONE_COMMAND_PER_10S: Final = "one_command_per_10s"
REMOTE_START_NEEDS_CONNECTOR: Final = "remote_start_needs_connector"
NO_LATE_CONF: Final = "accepts_late_conf=false"
START_MATCH_BY_SOCKET: Final = "start.match_by_socket"


@dataclass(frozen=True, slots=True)
class Quirk:
    """One entry of the list. `honoured` is the module that asks for it.

    `values` are what may stand behind `=`; of these a station can have one. `is_number`: any whole number above zero.
    """

    meaning: str
    honoured: str
    values: tuple[str, ...] = ()
    is_number: bool = False

    def spellings(self, name: str) -> list[str]:
        """How the word may be written."""
        if self.is_number:
            return [f"{name}=N"]
        return [f"{name}={value}" for value in self.values] or [name]


QUIRKS: Final[Mapping[str, Quirk]] = {
    "no_server_ping": Quirk(
        "hangs up on a WebSocket ping: it is not pinged, and taken for gone after three heartbeats of silence",
        "csms/edges/gate.py",
    ),
    "default_subprotocol": Quirk(
        "offers no subprotocol and speaks this version", "csms/edges/gate.py", ("1.6", "2.0.1")
    ),
    "id_from_query": Quirk(
        "names itself in the query of the URL (`?id=`, `?identity=`, `?chargePointId=`, `?cp=`) and not in the path",
        "csms/edges/gate.py",
    ),
    "password_hex_as_text": Quirk(
        "sends the hexadecimal text of its key as the password. Both readings open the door in any case; the word "
        "allows it in strict mode too",
        "csms/edges/gate.py",
    ),
    "tls_relic": Quirk("speaks TLS 1.0 or 1.1 only: it may use the relic listener", "csms/edges/gate.py"),
    "tz_missing": Quirk(
        "sends times without a zone and means UTC (as everybody is read) or Indian time",
        "csms/edges/ocpptime.py",
        ("UTC", "IST"),
    ),
    "ist_sent_as_z": Quirk("sends Indian time marked as UTC", "csms/edges/ocpptime.py"),
    "energy_unit_override": Quirk(
        "sends energy samples in kWh, unlabelled or labelled Wh", "csms/edges/ocpp16/wire.py", ("kWh",)
    ),
    "start_stop_unit_override": Quirk(
        "gives `meterStart` and `meterStop` in kWh", "csms/edges/ocpp16/wire.py", ("kWh",)
    ),
    "register_scope": Quirk(
        "has no lifetime register in its samples: they count from the start of the session, or since the sample before",
        "csms/app/stations.py",
        ("SESSION", "INTERVAL"),
    ),
    "tx0_means_unknown": Quirk(
        "names transaction 0 where it knows none. 0 is always read so; with the word it is not counted as odd",
        "csms/edges/ocpp16/inbound.py",
    ),
    "meter_value_object": Quirk(
        "sends one object, or a bare number, where a list of readings belongs. That is always mended; with the word "
        "it is not counted as odd, the original is not kept aside, and strict mode allows it",
        "csms/edges/oddities.py",
    ),
    "numbers_for_strings": Quirk(
        "sends numbers where text belongs, or text where numbers belong; handled as `meter_value_object`; in"
        " authorizations it is mended with the word only",
        "csms/edges/oddities.py",
    ),
    "unknown_error_code_as_text": Quirk(
        "sends error codes of its own; handled as `meter_value_object`", "csms/edges/oddities.py"
    ),
    "boot_on_reconnect_is_not_reboot": Quirk("sends BootNotification on every reconnect", "csms/app/charging.py"),
    "no_queue_offline": Quirk(
        "keeps nothing while it is offline: after a reconnect we do not wait for a queue before we act",
        "csms/app/charging.py",
    ),
    "max_keys_per_get": Quirk(
        "answers at most so many keys per GetConfiguration or GetVariables", "csms/edges/ocpp16/provisioning.py",
        is_number=True,
    ),
    "one_command_per_10s": Quirk(
        "loses commands that follow each other quickly: ours leave at least 10 s apart", "csms/edges/ocppj/session.py"
    ),
    "remote_start_needs_connector": Quirk(
        "refuses a remote start without a connector", "csms/edges/ocpp16/outbound.py"
    ),
    "accepts_late_conf": Quirk(
        "stumbles over an answer to a message that it has given up: one older than 25 s is not sent any more",
        "csms/edges/ocppj/link.py",
        ("false",),
    ),
    "start.match_by_socket": Quirk(
        "starts under a token of its own after a remote start: the start we asked for at that socket is meant",
        "csms/app/verdicts.py",
    ),
}  # fmt: skip


def spellings() -> list[str]:
    """Every word as it may be written, in the order of the list."""
    return [spelling for name, quirk in QUIRKS.items() for spelling in quirk.spellings(name)]


def problem(words: Iterable[str]) -> str | None:
    """What is wrong with a set of words, as a sentence; None when it can stand."""
    seen: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        quirk = QUIRKS.get(name)
        if quirk is None or not _fits(quirk, word, value):
            return f"there is no quirk {word!r}; known are {', '.join(spellings())}"
        if seen.setdefault(name, word) != word:
            return f"{seen[name]} and {word} exclude each other"
    return None


def merged(own: frozenset[str], profile: frozenset[str]) -> frozenset[str]:
    """A station's own words beside its profile's; where both have one of a name, its own counts."""
    if not profile:
        return own
    names = {word.partition("=")[0] for word in own}
    return own | {word for word in profile if word.partition("=")[0] not in names}


def value_of(quirks: frozenset[str], name: str) -> str | None:
    """What stands behind `name=`, None when the word is not among `quirks`."""
    return next((word.partition("=")[2] for word in quirks if word.startswith(f"{name}=")), None)


def number_of(quirks: frozenset[str], name: str) -> int | None:
    """The number behind `name=`, as in `max_keys_per_get=10`."""
    value = value_of(quirks, name)
    return int(value) if value is not None and value.isdecimal() else None


def _fits(quirk: Quirk, word: str, value: str) -> bool:
    if quirk.is_number:
        return value.isascii() and value.isdecimal() and len(value) < 7 and int(value) > 0
    return value in quirk.values if quirk.values else "=" not in word
