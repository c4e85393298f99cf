"""Frames that are no OCPP message, kept in the frame log so that nothing a charger said is gone without a trace.

Whoever wrote half a StopTransaction may have meant money; a person can still read it. A charger that writes nothing
else must not fill the disk: so many an hour and so many characters of each are kept, the rest is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from csms.app.stations import Station
from csms.ports import Put, Unit

_AN_HOUR: Final = 20
_HOUR_MS: Final = 3_600_000
LONGEST: Final = 8_192


class Garbled:
    """Keeps malformed frames."""

    def __init__(self, mint_seq: Callable[[], int], submit: Callable[[Unit], None]) -> None:
        self._mint_seq = mint_seq
        self._submit = submit
        self._kept: dict[str, tuple[int, int]] = {}  # charger -> (hour, how many of it)

    def keep(self, station: Station, reason: str, raw: bytes, now_ms: int) -> bool:
        """Store it as it came, bytes that are no UTF-8 shown as such; whether there was room."""
        hour, count = self._kept.get(station.id, (0, 0))
        if hour != now_ms // _HOUR_MS:
            hour, count = now_ms // _HOUR_MS, 0
        if count >= _AN_HOUR:
            return False
        self._kept[station.id] = hour, count + 1
        text = raw[:LONGEST].decode("utf-8", "backslashreplace").replace("\0", "\\x00")
        note = f"malformed: {reason}" if len(raw) <= LONGEST else f"malformed, cut at {LONGEST} bytes: {reason}"
        unit = Unit()
        row = (self._mint_seq(), station.no, now_ms, 0, None, None, text, None, None, note)
        unit.put(Put.FRAME, row)
        self._submit(unit)
        return True
