"""Lines of a CSV that a spreadsheet may open without running what a charger or a driver wrote into it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as CSV in UTF-8. A text that a spreadsheet would take for a formula gets an apostrophe before it; amounts
    are given as `Decimal` or numbers and stay as they are."""
    text = io.StringIO()
    csv.writer(text).writerows([[_harmless(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
