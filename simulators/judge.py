"""What a story must come to: true energy against metered energy, and money recomputed from the quotation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from simulators.buyer import Buyer
from simulators.pricing import ZERO, Bill, Quote
from simulators.station import Session

# A component line is rounded on its own, so two honest computations may differ by a paisa per line or so.
MONEY_TOLERANCE = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class Expectation:
    """The `[expect]` table of a story.

    `tolerance_wh`: how far the billed energy may be from the truth. `over_wh`: with `cpo_absorbs`, how far the
    delivered energy may be above what is billed, because the seller's own late stop is the seller's loss
    (SESSIONS 5.9). `refund`, `due`: whether money must go back or be asked for; absent: whatever the bill says.
    `sessions`: how many there were in truth. `complaints`: the charger or the buyer may have some.
    """

    tolerance_wh: int = 10
    sessions: int | None = 1
    refund: bool | None = None
    due: bool | None = None
    cancelled: bool = False
    cpo_absorbs: bool = False
    over_wh: int = 0
    stop_reason: str | None = None
    complaints: bool = False


@dataclass(slots=True)
class Result:
    """How a story ended. `ok` is true when there is no reason against it."""

    story: str
    title: str = ""
    ordered_kwh: Decimal | None = None
    ordered_inr: Decimal | None = None
    quoted_inr: Decimal | None = None
    paid_inr: Decimal | None = None
    delivered_kwh: Decimal | None = None
    metered_kwh: Decimal | None = None
    billed_inr: Decimal | None = None
    refunded_inr: Decimal | None = None
    due_inr: Decimal | None = None
    ledger: Decimal | None = None
    order_id: str = ""
    reasons: list[str] = field(default_factory=list)
    charger_complaints: list[str] = field(default_factory=list)
    buyer_problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """Plain JSON: amounts as text."""
        plain = {k: str(v) if isinstance(v, Decimal) else v for k, v in asdict(self).items()}
        return {"ok": self.ok, **plain}


def judge(
    expect: Expectation,
    order: dict[str, Any] | None,
    sessions: list[Session],
    buyer: Buyer | None,
    result: Result,
) -> None:
    """Fill in the figures and every reason why this is not what the story promised."""
    against = result.reasons.append
    delivered = Decimal(sum(session.delivered_wh for session in sessions)) / 1000
    result.delivered_kwh = delivered
    if expect.sessions is not None and len(sessions) != expect.sessions:
        against(f"{len(sessions)} sessions in truth, not {expect.sessions}")
    if expect.stop_reason is not None and sessions and sessions[-1].stop_reason != expect.stop_reason:
        against(f"stopped by {sessions[-1].stop_reason}, not {expect.stop_reason}")
    if not expect.complaints:
        result.reasons += [f"charger: {complaint}" for complaint in result.charger_complaints]
        result.reasons += [f"buyer: {problem}" for problem in result.buyer_problems]
    if buyer is None or order is None:
        return
    _figures(order, buyer, result)
    if expect.cancelled:
        _judge_cancelled(buyer, result)
    elif (bill := buyer.bill) is None:
        against("no final bill came")
    else:
        _judge_bill(expect, buyer, bill, delivered, result)
    if result.ledger is not None and result.ledger != 0:
        against(f"the ledger does not close: {result.ledger}")


def _figures(order: dict[str, Any], buyer: Buyer, result: Result) -> None:
    result.order_id = buyer.order_id
    result.ordered_kwh = Decimal(str(order["kwh"])) if "kwh" in order else None
    result.ordered_inr = Decimal(str(order["inr"])) if "inr" in order else None
    result.quoted_inr = buyer.quote.value if buyer.quote else None
    result.paid_inr = buyer.paid
    result.due_inr = max(ZERO, buyer.due)
    if (bill := buyer.bill) is not None:
        result.billed_inr, result.metered_kwh = bill.value, bill.metered_kwh
        # What the buyer has back, so that paid + due = billed + returned: the part of what was paid or held that was
        # not billed, and whatever of it a later bill asks for again.
        result.refunded_inr = max(ZERO, buyer.paid + result.due_inr - bill.value)
    else:
        result.refunded_inr = buyer.refunded


def _judge_cancelled(buyer: Buyer, result: Result) -> None:
    answers = buyer.bap.messages(buyer.transaction_id, "on_cancel")
    if not answers or buyer.read(answers[-1]).order_status != "CANCELLED":
        result.reasons.append("the order is not CANCELLED")
    if result.delivered_kwh:
        result.reasons.append(f"a cancelled order delivered {result.delivered_kwh} kWh")


def _judge_bill(expect: Expectation, buyer: Buyer, bill: Bill, delivered: Decimal, result: Result) -> None:
    against = result.reasons.append
    metered = bill.metered_kwh
    tolerance = Decimal(expect.tolerance_wh) / 1000
    if metered is None:
        against("the final bill names no meteredEnergyKWh")
        return
    if metered > delivered + tolerance:
        against(f"billed {metered} kWh, delivered only {delivered}")
    if not expect.cpo_absorbs and delivered > metered + tolerance:
        against(f"delivered {delivered} kWh, billed only {metered}")
    if expect.cpo_absorbs and delivered > metered + tolerance + Decimal(expect.over_wh) / 1000:
        against(f"delivered {delivered} kWh, billed {metered}: more given away than the story allows")
    if bill.session_status != "COMPLETED":
        against(f"the final session is {bill.session_status}")
    if buyer.quote is not None:
        _judge_money(buyer.quote, buyer, bill, metered, expect, result)
    if expect.refund is not None and expect.refund != (buyer.paid > bill.value):
        against(f"paid {buyer.paid}, billed {bill.value}: {'no' if expect.refund else 'a'} refund was not expected")
    if expect.refund and not buyer.is_hold and buyer.collected_by == "BPP":
        # A late meter value may show that too much went back: then the difference is asked for again.
        back = buyer.refunded - buyer.due
        if abs(back - (buyer.paid - bill.value)) > MONEY_TOLERANCE:
            against(f"paid {buyer.paid}, billed {bill.value}, but a net {back} was to come back")
    if expect.due is not None and expect.due != _was_due(buyer, bill):
        against(f"money due was {'' if expect.due else 'not '}expected")


def _judge_money(quote: Quote, buyer: Buyer, bill: Bill, metered: Decimal, expect: Expectation, result: Result) -> None:
    against = result.reasons.append
    if not quote.adds_up():
        against(f"the quotation's lines do not add up to {quote.value}")
    if not bill.quote.adds_up():
        against(f"the bill's lines do not add up to {bill.value}")
    if quote.unit == "KWH" and quote.unit_price is not None:
        own = quote.price_of(metered, bill.idle_fee)
        capped = expect.cpo_absorbs and bill.value <= own  # the seller asks for less than the energy is worth
        if abs(own - bill.value) > MONEY_TOLERANCE and not capped:
            against(f"by the quoted prices {metered} kWh cost {own}, billed {bill.value}")
    included = bill.session.get("totalCost", {}).get("inclVat")
    if included is not None and Decimal(str(included)) != bill.value:
        against(f"totalCost {included} is not the order's value {bill.value}")
    if buyer.collected_by == "BPP" and bill.payment_status not in {
        "COMPLETED", "CAPTURED", "SETTLED", "ADJUSTED", "PENDING", "PARTIALLY_REFUNDED", "REFUNDED", "AUTHORIZED",
    }:  # fmt: skip
        against(f"the final payment is {bill.payment_status}")


def _was_due(buyer: Buyer, bill: Bill) -> bool:
    """Whether the seller had to ask for more, paid by now or not."""
    return bill.value > buyer.asked + MONEY_TOLERANCE
