"""Facts among the prepared writes of the charger path; use cases append theirs (`Tx.append`)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from csms.ports import Fact, Put, Unit

_encoder: Final = msgspec.json.Encoder()


def encode(value: Any) -> str:
    """Compact JSON text; the hot path's own, because it is written with every fact."""
    return _encoder.encode(value).decode()


def put_fact(unit: Unit, fact: Fact) -> None:
    """Journal it when the unit is committed."""
    row = (fact.at_ms, fact.kind, fact.station, fact.session_no, fact.order_id, encode(fact.body))
    unit.put(Put.FACT, row)
