"""UPI deep links: what a driver's phone opens to pay. Field names are those of the UPI linking specification."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from csms.domain.units import from_minor


def intent(*, vpa: str, name: str, amount_minor: int, currency: str, reference: str, note: str) -> str:
    """`upi://pay?…` for one payment; `reference` comes back with the bank's notification."""
    fields = {
        "pa": vpa,
        "pn": name,
        "am": str(from_minor(amount_minor)),
        "cu": currency,
        "tr": reference,
        "tn": note[:80],
    }
    return "upi://pay?" + urlencode(fields, quote_via=quote)
