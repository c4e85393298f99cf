"""What vendors' own messages (DataTransfer) mean: one file per vendor, a pure function per message.

    vendorId unknown here ─▶ UnknownVendorId        messageId unknown to the vendor ─▶ UnknownMessageId
    known ─▶ its function ─▶ Accepted or Rejected, perhaps with data                     (1.6 4.3, 2.0.1 P02)

A function gets `data` as it came (1.6: text) and looks at nothing else; whatever it answers, the message itself is
stored as a report first, and whoever wants to act on it reads the report (`app.reports`). To add a vendor: a file here
with its `VENDOR_ID` and `MESSAGES`, entered below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from csms.edges.vendors import example


class Reply(NamedTuple):
    """The answer to a vendor's message; `data` None: none."""

    status: str  # Accepted, Rejected, UnknownMessageId, UnknownVendorId
    data: Any = None


Contract = Callable[[Any], tuple[bool, Any]]  # data -> (accepted, data of the answer)

VENDORS: Final[Mapping[str, Mapping[str | None, Contract]]] = {
    example.VENDOR_ID: example.MESSAGES,
}


def reply(
    vendor_id: str,
    message_id: str | None,
    data: Any,
    vendors: Mapping[str, Mapping[str | None, Contract]] = VENDORS,
) -> Reply:
    """The answer that the vendor's contract gives. Vendor ids have no case (1.6 CiString255)."""
    contracts = next((found for known, found in vendors.items() if known.casefold() == vendor_id.casefold()), None)
    if contracts is None:
        return Reply("UnknownVendorId")
    contract = contracts.get(message_id or None)
    if contract is None:
        return Reply("UnknownMessageId")
    accepted, answer = contract(data)
    return Reply("Accepted" if accepted else "Rejected", answer)
