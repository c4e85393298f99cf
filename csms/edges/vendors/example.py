"""The messages of a vendor that does not exist: what a contract looks like, and what integration tests talk to.

Echo          any data                                  Accepted, with the same data
EnergyLimit   a number of Wh, as number or text         Accepted; Rejected for what is none
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

VENDOR_ID: Final = "com.example"


def echo(data: Any) -> tuple[bool, Any]:
    """The data comes back."""
    return True, data


def energy_limit(data: Any) -> tuple[bool, Any]:
    """A limit that the charger has set for itself."""
    text = str(data).strip() if isinstance(data, str | int) and not isinstance(data, bool) else ""
    return text.isascii() and text.isdigit(), None


MESSAGES: Final[Mapping[str | None, Callable[[Any], tuple[bool, Any]]]] = {
    "Echo": echo,
    "EnergyLimit": energy_limit,
}
