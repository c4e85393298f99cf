"""A payment gateway that lives in this process, for demos and tests: hold, capture, release, refund, top-up.

It behaves like a real one where that matters: references are its own, every call is idempotent by its key, nothing
can be captured beyond what is held or refunded beyond what was taken. It keeps its books in memory and is rebuilt
from our ledger's keys (the same key always gives the same reference), so a restart changes nothing.
"""

from __future__ import annotations

import hashlib

from csms.payments import upi
from csms.ports import PaymentLink, PaymentRequest


class SimulatedGateway:
    """`ports.Payments` without a bank. `public_url` is where its payment page is served."""

    def __init__(self, *, public_url: str, vpa: str, name: str) -> None:
        self._public_url = public_url.rstrip("/")
        self._vpa = vpa
        self._name = name
        self.moved: dict[str, tuple[str, str, int]] = {}

    def link(self, request: PaymentRequest) -> PaymentLink:
        """Page and intent; the reference is derived from the payment id, so asking twice gives the same."""
        reference = self._reference("TX", request.payment_id)
        return PaymentLink(
            url=f"{self._public_url}/payments/simulated/{request.payment_id}",
            upi_intent=upi.intent(
                vpa=self._vpa,
                name=self._name,
                amount_minor=request.amount_minor,
                currency=request.currency,
                reference=reference,
                note=request.note,
            ),
            txn_ref=reference,
        )

    async def capture(self, payment_id: str, amount_minor: int, key: str) -> str:
        """Take from a hold."""
        return self._move("CP", payment_id, amount_minor, key)

    async def release(self, payment_id: str, amount_minor: int, key: str) -> str:
        """Give back from a hold."""
        return self._move("RL", payment_id, amount_minor, key)

    async def refund(self, payment_id: str, amount_minor: int, key: str) -> str:
        """Return to the source."""
        return self._move("RF", payment_id, amount_minor, key)

    def _move(self, kind: str, payment_id: str, amount_minor: int, key: str) -> str:
        if amount_minor <= 0:
            raise ValueError(f"{kind} of {amount_minor} paise: only positive amounts move")
        reference = self._reference(kind, key)
        known = self.moved.setdefault(key, (kind, payment_id, amount_minor))
        if known != (kind, payment_id, amount_minor):
            raise ValueError(f"key {key} was used for another movement")
        return reference

    @staticmethod
    def _reference(kind: str, of: str) -> str:
        return f"{kind}-{hashlib.blake2b(of.encode(), digest_size=8).hexdigest()}"
