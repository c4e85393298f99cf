"""What chargers last said about themselves, for decisions that depend on it; what they never said is absent."""

from __future__ import annotations

from collections.abc import Iterable

from csms.ports import ReadTx, Table


def said(tx: ReadTx, station_id: str, names: Iterable[str]) -> dict[str, str | None]:
    """Values by name: keys of OCPP 1.6, `Component.Variable` of 2.0.1."""
    rows = tx.many(Table.CONFIGURATION, station=station_id, name=list(names), attribute="Actual")
    return {row["name"]: row["value"] for row in rows}
