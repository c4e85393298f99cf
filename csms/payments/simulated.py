"""A payment gateway that lives in this process, for demos and tests: hold, capture, release, refund, top-up.

It behaves like a real one where that matters: references are its own, every call is idempotent by its key, nothing
can be captured beyond what is held or refunded beyond what was taken. It keeps its books in memory; after a restart
it believes what it is asked (references come from the keys, so the same key gives the same one).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from csms.domain.units import to_minor
from csms.payments import upi
from csms.payments.signed import fits
from csms.ports import (
    Collection,
    GatewayEvent,
    GatewayRefused,
    MoneyState,
    Moved,
    PaymentLink,
    PaymentRequest,
    Prepared,
    RemoteMoney,
    RemoteView,
    UnreadableEvent,
)

_STATES = {"paid": MoneyState.CAPTURED, "authorized": MoneyState.AUTHORIZED, "failed": MoneyState.FAILED}


@dataclass(slots=True)
class _Book:
    """What is known of one payment."""

    amount_minor: int
    currency: str
    held_minor: int
    captured_minor: int = 0
    refunded_minor: int = 0
    released_minor: int = 0


class SimulatedGateway:
    """`ports.Payments` without a bank. `public_url` is where its payment page is served."""

    name = "simulated"
    is_remote = False

    def __init__(self, *, public_url: str, vpa: str, name: str, webhook_secret: str | None = None) -> None:
        self._public_url = public_url.rstrip("/")
        self._vpa = vpa
        self._payee = name
        self._secret = webhook_secret
        self._books: dict[str, _Book] = {}
        self.moved: dict[str, tuple[str, str, int]] = {}

    def link(self, request: PaymentRequest) -> PaymentLink:
        """Page and intent; the reference is derived from the payment id, so asking twice gives the same."""
        reference = _reference("TX", request.payment_id)
        return PaymentLink(
            url=f"{self._public_url}/payments/simulated/{request.payment_id}",
            upi_intent=self._intent(request.payment_id, request.amount_minor, request.currency, request.note),
            txn_ref=reference,
        )

    def _intent(self, payment_id: str, amount_minor: int, currency: str, note: str) -> str:
        return upi.intent(
            vpa=self._vpa,
            name=self._payee,
            amount_minor=amount_minor,
            currency=currency,
            reference=_reference("TX", payment_id),
            note=note,
        )

    async def prepare(self, of: Collection) -> Prepared:
        """Nothing has to be made."""
        intent = self._intent(of.payment_id, of.amount_minor, of.currency, of.note)
        return Prepared(remote_id=_reference("OR", of.receipt), upi_intent=intent)

    def pay(self, of: Collection, *, held: bool) -> RemoteMoney:
        """The simulated driver pays, or lets hold. Once: a second time it is as it was."""
        book = _Book(of.amount_minor, of.currency, of.amount_minor, 0 if held else of.amount_minor)
        return _money(of, self._books.setdefault(of.receipt, book))

    async def look(self, of: Collection) -> RemoteView | None:
        """What was paid since the start of this process."""
        book = self._books.get(of.receipt)
        attempts = (_money(of, book),) if book is not None else ()
        return RemoteView(remote_id=_reference("OR", of.receipt), attempts=attempts)

    async def capture(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Take from a hold."""
        return self._move("CP", of, amount_minor, key)

    async def release(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Give back from a hold."""
        return self._move("RL", of, amount_minor, key)

    async def refund(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Return to the source."""
        return self._move("RF", of, amount_minor, key)

    def _move(self, kind: str, of: Collection, amount_minor: int, key: str) -> Moved:
        if amount_minor <= 0:
            raise GatewayRefused(f"{kind} of {amount_minor} paise: only positive amounts move")
        moved = (kind, of.payment_id, amount_minor)
        reference = Moved(ref=_reference(kind, key))
        known = self.moved.get(key)
        if known == moved:
            return reference
        if known is not None:
            raise GatewayRefused(f"key {key} was used for another movement")
        book = self._books.get(of.receipt)
        if book is not None:
            _post(book, kind, amount_minor)
        self.moved[key] = moved
        return reference

    # -- webhooks: `X-Signature: sha256=<hex HMAC of the raw body>`, {payment_id, status, amount, reference}

    def is_genuine(self, headers: Mapping[str, str], body: bytes) -> bool | None:
        """Whether the signature fits."""
        if self._secret is None:
            return None
        return fits(self._secret, body, headers.get("X-Signature", "").removeprefix("sha256="))

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:  # noqa: ARG002 - the port's shape
        """The body says it all; the same body is the same event."""
        said: Any
        try:
            said = json.loads(body)
            payment_id, status, amount = said["payment_id"], said["status"], said.get("amount")
            amount_minor = to_minor(Decimal(str(amount))) if amount is not None else None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise UnreadableEvent("payment_id, status and amount are needed") from error
        if not isinstance(payment_id, str) or not isinstance(status, str):
            raise UnreadableEvent("payment_id and status must be text")
        event_id = hashlib.sha256(body).hexdigest()
        state = _STATES.get(status)
        if state is None:
            return GatewayEvent(event_id=event_id, kind=status[:40], payment_id=payment_id)
        if amount_minor is None and state is not MoneyState.FAILED:
            raise UnreadableEvent("amount is needed")
        amount_minor = amount_minor or 0
        money = RemoteMoney(
            remote_payment_id=str(said.get("reference") or _reference("TX", payment_id)),
            state=state,
            amount_minor=amount_minor,
            currency=str(said.get("currency", "INR")),
            captured_minor=amount_minor if state is MoneyState.CAPTURED else 0,
        )
        return GatewayEvent(event_id=event_id, kind=status, payment_id=payment_id, money=money)

    async def close(self) -> None:
        """Nothing is open."""


def _money(of: Collection, book: _Book) -> RemoteMoney:
    state = MoneyState.AUTHORIZED
    if book.captured_minor:
        state = MoneyState.CAPTURED
    elif book.released_minor >= book.held_minor:
        state = MoneyState.VOIDED
    return RemoteMoney(
        remote_payment_id=_reference("TX", of.payment_id),
        state=state,
        amount_minor=book.amount_minor,
        currency=book.currency,
        captured_minor=book.captured_minor,
        refunded_minor=book.refunded_minor,
    )


def _post(book: _Book, kind: str, amount_minor: int) -> None:
    """Move it in the books. Raises GatewayRefused when it is not there."""
    in_hold = book.held_minor - book.captured_minor - book.released_minor
    room = book.captured_minor - book.refunded_minor if kind == "RF" else in_hold
    if amount_minor > room:
        raise GatewayRefused(f"{kind} of {amount_minor} paise: there are {room}")
    if kind == "RF":
        book.refunded_minor += amount_minor
    elif kind == "CP":
        book.captured_minor += amount_minor
    else:
        book.released_minor += amount_minor


def _reference(kind: str, of: str) -> str:
    return f"{kind}-{hashlib.blake2b(of.encode(), digest_size=8).hexdigest()}"
