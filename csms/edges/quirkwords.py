"""The quirk words an OCPP wire listens to, one flag each (OCPP 6.3). A word unknown here changes nothing here.

A station's words come from its firmware profile as a frozenset; the wires ask by these names only.
"""

from __future__ import annotations

from typing import Final

NO_QUIRKS: Final[frozenset[str]] = frozenset()

# A time without a zone is Indian civil time instead of UTC.
TZ_MISSING_IST: Final = "tz_missing=IST"
# A time that ends in `Z` (or +00:00) is Indian civil time all the same.
IST_SENT_AS_Z: Final = "ist_sent_as_z"
# Energy samples without a unit, or labelled Wh, are kWh.
ENERGY_SAMPLES_ARE_KWH: Final = "energy_unit_override=kWh"
# meterStart and meterStop are kWh. Apart from the samples: firmware gets one wrong without the other.
START_STOP_ARE_KWH: Final = "start_stop_unit_override=kWh"
# A RemoteStart without a connector is refused by this model.
REMOTE_START_NEEDS_CONNECTOR: Final = "remote_start_needs_connector"
# Transaction id 0 means "unknown". The ids of this house are never 0, so the wires treat every 0 so.
TX0_MEANS_UNKNOWN: Final = "tx0_means_unknown"
