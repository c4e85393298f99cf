"""The page a driver pays on: the sum, a code to scan, a link that opens a UPI app, and how it stands.

It works without JavaScript: while the payment is open it loads itself again. Nothing but its own style is allowed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Mapping
from typing import Any, Final

import segno

from csms.domain.units import from_minor
from csms.edges.pageheaders import page_headers

_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:2rem auto;padding:0 1rem;text-align:center}"
    "svg{width:16rem;height:16rem;background:#fff}"
    "a,button{display:inline-block;padding:.7rem 1.2rem;border:1px solid;border-radius:.4rem;font:inherit}"
    "strong{font-size:1.6rem}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = page_headers(
    f"style-src 'sha256-{_STYLE_HASH}'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"
)
_AGAIN_S: Final = 5
_LONGEST_INTENT: Final = 1000


def page(payment: Mapping[str, Any], *, simulated: bool) -> str:
    """`payment` as `Buying.payment` gives it. `simulated`: buttons that pay by themselves stand on it."""
    amount = html.escape(f"{from_minor(payment['amount_minor'])} {payment['currency']}")
    what = html.escape(str(payment.get("what", "")))
    is_open = bool(payment.get("is_open"))
    head = f'<meta http-equiv=refresh content="{_AGAIN_S}">' if is_open and not simulated else ""
    body = _to_pay(payment, simulated=simulated) if is_open else f"<p>{_ended(payment)}</p>"
    title = "Simulated payment" if simulated else "Payment"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"{head}<title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{what}</p><p><strong>{amount}</strong></p>{body}</html>"
    )


def _to_pay(payment: Mapping[str, Any], *, simulated: bool) -> str:
    intent = str(payment["upi_intent"])
    failed = "<p>The last attempt failed. You can try again.</p>" if payment["status"] == "FAILED" else ""
    held = "<p>The sum is held now; what the session does not need goes back.</p>" if payment.get("hold") else ""
    if not is_intent(intent):
        # Its payment is being made at the gateway.
        shown = "<p>One moment: the payment is being prepared. This page loads itself again.</p>"
    else:
        link = html.escape(intent, quote=True)
        shown = (
            f"<p>{code(intent)}</p><p>Scan it with a UPI app, or on the phone that has one:</p>"
            f'<p><a href="{link}" rel=noreferrer>Open a UPI app</a></p>'
        )
    if simulated:
        shown += (
            f"<p>{html.escape(str(payment['status']))}. No real money moves here.</p>"
            "<form method=post><button name=status value=paid>Pay</button> "
            "<button name=status value=authorized>Hold only</button></form>"
        )
    return failed + held + shown


def _ended(payment: Mapping[str, Any]) -> str:
    if payment.get("is_paid"):
        return "It is paid. You can close this page and go on in your app."
    return "This can no longer be paid here. Ask for a new price in your app."


def is_intent(text: str) -> bool:
    """Whether it may stand on the page as a link: nothing but UPI, and short enough for a code."""
    return text.startswith("upi://") and len(text) <= _LONGEST_INTENT


def code(text: str) -> str:
    """A QR code as an SVG element (error correction M, quiet zone of four modules)."""
    drawn = io.BytesIO()
    segno.make(text, error="m", micro=False, boost_error=False).save(
        drawn, kind="svg", xmldecl=False, svgns=False, border=4, omitsize=True, svgclass=None, lineclass=None,
        title="The payment as a code to scan",
    )  # fmt: skip
    return drawn.getvalue().decode()
