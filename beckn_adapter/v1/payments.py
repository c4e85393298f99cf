"""Money in Beckn 1.1.0: payments, refunds, top-ups, and the terms of cancelling (BECKN 5.5 to 5.7). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from beckn_adapter.members import is_uri
from beckn_adapter.speaking import Json, Speaker
from beckn_adapter.v1.orders import tag_group
from beckn_adapter.v1.profiles import Profile, Terms
from beckn_adapter.v1.quotes import money
from csms.domain.breakdown import Role
from csms.domain.order import CollectedBy, Order, Payment, PaymentStatus, State
from csms.domain.tariff import cancellation_bill
from csms.domain.units import from_minor, rfc3339

_PAID: Final = frozenset(
    {
        *(PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED, PaymentStatus.COMPLETED, PaymentStatus.ADJUSTED),
        *(PaymentStatus.REFUNDED, PaymentStatus.PARTIALLY_REFUNDED),
    }
)
_AFTER: Final = "POST-FULFILLMENT"


def payments_json(
    order: Order, profile: Profile, speaker: Speaker, *, is_offer: bool = False, is_bill: bool = False
) -> list[Json]:
    """What was paid, what is still to pay, what goes or went back. `is_offer`: the terms, before anything is paid.

    `is_bill`: what the bill returns is announced, however quick the gateway was; that it has gone back is told by
    itself (BECKN 4.10), so the two messages are the same whatever happened first.
    """
    payment = order.payment
    if payment is None:
        return []
    if is_bill and order.is_billed:
        order = replace(order, refunds=tuple(refund for refund in order.refunds if _is_earlier(refund, order)))
    entries = [_first(order, payment, profile, speaker, is_offer=is_offer)]
    asked = [top_up for top_up in order.top_ups if top_up.is_good or top_up in order.open_top_ups]
    entries += [_top_up(order, top_up, profile) for top_up in asked]
    entries += [_refund(order, refund, profile, is_made=True) for refund in order.refunds]
    due = refund_due(order)
    if due is not None:
        entries.append(_refund(order, due, profile, is_made=False))
    return entries


def _is_earlier(refund: Payment, order: Order) -> bool:
    return refund.paid_at_ms is not None and order.ended_at_ms is not None and refund.paid_at_ms < order.ended_at_ms


def _first(order: Order, payment: Payment, profile: Profile, speaker: Speaker, *, is_offer: bool) -> Json:
    amount_minor = payment.amount_minor
    if order.final is not None and payment.status is PaymentStatus.AUTHORIZED:
        amount_minor = min(amount_minor, order.final.total_minor)  # the rest of a hold is released, never paid
    kind = _AFTER if order.on_account else profile.payment_type
    written = _entry(order, payment, profile, kind, amount_minor)
    if is_offer:
        params = written["params"]
        assert isinstance(params, dict)
        params |= _account(speaker)
        methods = _methods(order, speaker)
        if methods:
            entries = [(method, label, None) for method, label in methods]
            written["tags"] = [tag_group(profile, "payment-methods", "Payment Methods", entries)]
        if not payment.is_good:
            span = {"start": rfc3339(order.quoted_at_ms), "end": rfc3339(order.quote_expires_ms)}
            written["time"] = {"range": span}
    return written


def _entry(order: Order, payment: Payment, profile: Profile, kind: str, amount_minor: int) -> Json:
    params: Json = {"amount": money(from_minor(amount_minor)), "currency": order.quote.currency}
    if payment.txn_ref is not None:
        params["transaction_id"] = payment.txn_ref
    written: Json = {"id": payment.payment_id, "collected_by": profile.collectors[order.collected_by.value]}
    is_open = order.collected_by is CollectedBy.BPP and not payment.is_good
    if is_open and payment.url is not None and is_uri(payment.url):
        written["url"] = payment.url
    written |= {"params": params, "type": kind, "status": "PAID" if payment.status in _PAID else "NOT-PAID"}
    if payment.paid_at_ms is not None:
        written["time"] = {"timestamp": rfc3339(payment.paid_at_ms)}
    return written


def _account(speaker: Speaker) -> Json:
    """Our account, where the buyer's app settles with us or a bank transfer goes."""
    names = (
        ("ifscCode", "bank_code"), ("accountNumber", "bank_account_number"), ("vpa", "virtual_payment_address"),
    )  # fmt: skip
    return {theirs: speaker.settlement_account[ours] for ours, theirs in names if ours in speaker.settlement_account}


def _methods(order: Order, speaker: Speaker) -> tuple[tuple[str, str], ...]:
    if order.collected_by is CollectedBy.BPP:
        return (("PAYMENT-LINK", "Payment Link"),)
    return (("BANK-TRANSFER", "Bank Transfer"),) if _account(speaker) else ()


def _top_up(order: Order, top_up: Payment, profile: Profile) -> Json:
    return _entry(order, top_up, profile, _AFTER, top_up.amount_minor)


def _refund(order: Order, refund: Payment, profile: Profile, *, is_made: bool) -> Json:
    """One group `refund-details`; the guide's own form is not even JSON (BECKN 5.7)."""
    amount = money(from_minor(refund.amount_minor))
    kind = "CANCELLATION_REFUND" if order.state in (State.CANCELLED, State.FAILED) else "OVERCHARGE_REFUND"
    params: Json = {"amount": amount, "currency": order.quote.currency}
    if refund.txn_ref is not None:
        params["transaction_id"] = refund.txn_ref
    entries = (
        ("refund-type", "Refund Type", kind),
        ("refund-amount", "Refund Amount", f"{amount}{order.quote.currency}"),
    )
    written: Json = {
        "id": refund.payment_id,
        "collected_by": profile.collectors[order.collected_by.value],
        "params": params,
        "type": _AFTER,
        "status": "PAID" if is_made else "NOT-PAID",
        "tags": [tag_group(profile, "refund-details", "Refund Details", entries)],
    }
    if is_made and refund.paid_at_ms is not None:
        written["time"] = {"timestamp": rfc3339(refund.paid_at_ms)}
    return written


def refund_due(order: Order) -> Payment | None:
    """What is to go back and has not yet: collected money beyond the bill, or beyond a cancellation's fee."""
    payment = order.payment
    if payment is None or not payment.is_good:
        return None
    if order.state in (State.CANCELLED, State.FAILED):
        fee = order.cancellation_fee.total_minor if order.cancellation_fee is not None else 0
    elif order.final is not None and payment.status is not PaymentStatus.AUTHORIZED:
        fee = order.final.total_minor
    else:
        return None
    paid_minor = payment.amount_minor + sum(top_up.amount_minor for top_up in order.top_ups if top_up.is_good)
    left_minor = paid_minor - fee - sum(refund.amount_minor for refund in order.refunds)
    if left_minor <= 0:
        return None
    return Payment(
        payment_id=f"{payment.payment_id}-refund",
        status=PaymentStatus.PENDING,
        amount_minor=left_minor,
        beneficiary="BUYER",
    )


# --- terms --------------------------------------------------------------------------------------------------


def terms_json(order: Order, profile: Profile) -> Json:
    """What cancelling costs, or brings back: before charging by the operator's policy, afterwards nothing."""
    ordered = order.quote.without(Role.BUFFER).total
    fee = (
        cancellation_bill(order.terms, ordered, from_minor(order.hold_minor)).total if order.slot is not None else None
    )
    waiting, charging = profile.state_codes[State.CONFIRMED], profile.state_codes[State.ACTIVE]
    assert waiting is not None
    assert charging is not None
    currency = order.quote.currency
    if profile.terms is Terms.REFUND:
        back = from_minor(order.hold_minor) - (fee or 0)
        refundable: Json = {
            "fulfillment_state": {"code": waiting},
            "refund_eligible": True,
            "refund_amount": {"value": money(back), "currency": currency},
        }
        return {"refund_terms": [refundable, {"fulfillment_state": {"code": charging}, "refund_eligible": False}]}
    term: Json = {"fulfillment_state": {"descriptor": {"code": waiting}}, "cancellation_fee": {"percentage": "0"}}
    terms = [term]
    if fee:
        assert order.slot is not None
        until_ms = order.slot.start_ms - order.terms.cancellation.free_minutes * 60_000
        term["cancel_by"] = {"timestamp": rfc3339(max(0, until_ms))}
        late: Json = {"fulfillment_state": {"descriptor": {"code": waiting}}}
        late["cancellation_fee"] = {"amount": {"value": money(fee), "currency": currency}}
        terms.append(late)
    terms.append({"fulfillment_state": {"descriptor": {"code": charging}}, "cancellation_fee": {"percentage": "100"}})
    return {"cancellation_terms": terms}


def cancellation_json(order: Order) -> Mapping[str, object]:
    """Who gave the order back, when and why; the buyer's own words are repeated."""
    written: Json = {"cancelled_by": "CONSUMER" if _by_buyer(order) else "PROVIDER"}
    if order.cancelled_at_ms is not None:
        written["time"] = rfc3339(order.cancelled_at_ms)
    reason: Json = {}
    said = order.wire.get("cancellation")
    if isinstance(said, Mapping) and _by_buyer(order):
        if isinstance(said.get("id"), str):
            reason["id"] = said["id"]
        if isinstance(said.get("said"), str):
            reason["descriptor"] = {"short_desc": said["said"]}
    if not reason and (order.cancel_reason or order.failure):
        reason["descriptor"] = {"short_desc": order.cancel_reason or order.failure}
    if reason:
        written["reason"] = reason
    return written


def _by_buyer(order: Order) -> bool:
    return order.cancelled_by is not None and order.cancelled_by.value == "buyer"
