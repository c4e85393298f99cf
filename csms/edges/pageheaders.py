"""Headers of what drivers open: it may load nothing, is kept nowhere, and tells nobody where it was opened."""

from __future__ import annotations

from typing import Final


def page_headers(*allowed: str) -> dict[str, str]:
    """`allowed` are directives of the content security policy, beside "nothing at all"."""
    return {
        "Content-Security-Policy": "; ".join(("default-src 'none'", *allowed)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


PLAIN: Final = page_headers("style-src 'unsafe-inline'", "form-action 'self'")
