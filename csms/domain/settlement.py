"""From a bill to ledger entries: what is captured, released, refunded, due or lost (SESSIONS 5.9).

`settle` is a pure function of the terms, what is posted, and the bill of one revision. It posts differences
only, and the same call twice (or after half of its entries were kept) gives just the entries still missing.

Provisional, after a power cut: what the last proven reading does not need goes back at once, all but a margin
for the samples that may have been lost. Final: holds are captured and released, the rest refunded, and a
shortfall is written off or asked for, in this order:

    the excess over price and provision, when we missed the stop ourselves
    up to 1 rupee beyond an order by amount                                   (BECKN 4.10)
    the price of energy within tolerance, max(10 Wh, 0.5 %), of the order
    CPO_ABSORBS: up to the cap
    everything else is due from the buyer
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import Account, EntryKind, LedgerEntry, Totals, entry, latest_revision
from csms.domain.quote import Want, WantKind
from csms.domain.tariff import Pattern, Slice, Terms, Usage, bill
from csms.domain.units import from_minor, to_minor

K = EntryKind

AMOUNT_WAIVER_MINOR: Final = 100  # BECKN 4.10: an overshoot of up to 1 INR on an order by amount is waived
TOLERANCE_WH: Final = 10
TOLERANCE_PER_MILLE: Final = 5
LOST_SAMPLES: Final = 3  # the running sample interval plus two lost ones (SESSIONS 5.9)
HOUR_MS: Final = 3_600_000


class Delivery(StrEnum):
    """How the delivered energy compares with the ordered one."""

    EXACT = "EXACT"
    UNDER = "UNDER"
    OVER = "OVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one revision charges: the bill and the energy it is for."""

    order_id: str
    revision: int
    breakdown: Breakdown
    delivered_wh: int
    at_ms: int

    def __post_init__(self) -> None:
        if self.revision < 1:
            raise ValueError("revision 0 is the order itself; settlements count from 1")
        if self.breakdown.total_minor < 0 or self.delivered_wh < 0:
            raise ValueError("a bill below zero is no bill")


def delivery(ordered_wh: int, delivered_wh: int) -> Delivery:
    """UNDER or OVER only beyond the tolerance of the order; a final bill follows the meter all the same."""
    if abs(delivered_wh - ordered_wh) <= tolerance_wh(ordered_wh):
        return Delivery.EXACT
    return Delivery.OVER if delivered_wh > ordered_wh else Delivery.UNDER


def tolerance_wh(ordered_wh: int) -> int:
    return max(TOLERANCE_WH, ordered_wh * TOLERANCE_PER_MILLE // 1000)


def margin_minor(terms: Terms, usage: Usage, *, rated_w: int, sample_interval_ms: int, at_ms: int) -> int:
    """What three unseen sample intervals at rated power may still cost on top of `usage`, in paise.

    It is the difference of two bills, so surcharges, tax and a bound of the tariff are in it.
    """
    unseen_ms = LOST_SAMPLES * sample_interval_ms
    unseen_wh = -(-rated_w * unseen_ms // HOUR_MS)
    start_ms = max([at_ms, *(piece.end_ms for piece in usage.slices)])
    unseen = Slice(start_ms=start_ms, end_ms=start_ms + unseen_ms, energy_wh=unseen_wh)
    more = bill(terms, replace(usage, slices=(*usage.slices, unseen)))
    return max(0, to_minor(more.total - bill(terms, usage).total))


def settle(
    entries: Sequence[LedgerEntry],
    charge: Charge,
    *,
    terms: Terms,
    want: Want,
    our_fault: bool = False,
    margin: int | None = None,
) -> tuple[LedgerEntry, ...]:
    """The entries that bring the ledger to `charge`: final, or provisional when a `margin` (paise) is given.

    `our_fault` says that energy beyond the order flowed because our own stop never reached the charger.
    Entries already posted for this revision are not returned again; if they differ from what this call works
    out, or a later revision is posted, it is a `ValueError`: a changed bill needs the next revision.
    """
    totals = _base(entries, charge)
    metered, priced = _charging(totals, charge, K.PRICED)
    if margin is not None:
        return _missing(entries, charge, [metered, priced, *_returning(totals, charge, margin)])
    waived = _Waiver(terms=terms, want=want, our_fault=our_fault).minor(totals, charge)
    return _missing(entries, charge, [metered, priced, *_closing(totals, charge, metered, waived)])


def payable(breakdown: Breakdown, entries: Iterable[LedgerEntry]) -> Breakdown:
    """The bill as the buyer sees it: what was written off in the ledger stands in it as a line of its own, so that
    the amount shown is the amount asked for and every line still follows from the meter."""
    waived = sum(posted.amount_minor for posted in entries if posted.kind is K.WRITE_OFF)
    if waived <= 0:
        return breakdown
    line = Component(
        kind=ComponentKind.DISCOUNT,
        role=Role.WAIVED,
        amount=-from_minor(waived),
        description="Beyond the order, borne by the operator",
    )
    return replace(breakdown, components=(*breakdown.components, line))


def asked_for(
    entries: Sequence[LedgerEntry], order_id: str, breakdown: Breakdown, delivered_wh: int, *, terms: Terms, want: Want,
    our_fault: bool, at_ms: int,
) -> Breakdown:  # fmt: skip
    """The bill as the buyer would see it if this were settled now: what would be written off is in it."""
    charge = Charge(
        order_id=order_id,
        revision=latest_revision(entries) + 1,
        breakdown=breakdown,
        delivered_wh=delivered_wh,
        at_ms=at_ms,
    )
    return payable(breakdown, [*entries, *settle(entries, charge, terms=terms, want=want, our_fault=our_fault)])


def give_back_overpaid(
    entries: Sequence[LedgerEntry], order_id: str, *, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """What top-ups brought beyond what was due goes back: two were open at once, or the bill came down meanwhile."""
    totals = Totals(entries)
    over = -totals.account(Account.DUE)
    if over <= 0:
        return ()
    revision = latest_revision(entries)
    return tuple(
        entry(order_id, revision, line.kind, line.amount_minor, at_ms=at_ms, part=f"overpaid:{ref}")
        for line in [*_refund_lines(totals, over), _Line(K.TOP_UP_DUE, over)]
        if line.amount_minor
    )


def finder_retained(
    entries: Sequence[LedgerEntry], order_id: str, breakdown: Breakdown, *, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """The buyer app's fee, when the first money it collected came after the bill: no settlement follows any more."""
    totals = Totals(entries)
    fee_minor = to_minor(breakdown.amount(Role.FINDER)) - totals.of(K.FINDER_COST)
    if totals.of(K.BAP_COLLECTED) + totals.of(K.BAP_REFUND) <= 0 or not fee_minor:
        return ()
    revision, part = latest_revision(entries), f"top-up:{ref}"
    return (
        entry(order_id, revision, K.FINDER_RETAINED, -fee_minor, at_ms=at_ms, part=part),
        entry(order_id, revision, K.FINDER_COST, fee_minor, at_ms=at_ms, part=part),
    )


def settle_cancellation(entries: Sequence[LedgerEntry], charge: Charge) -> tuple[LedgerEntry, ...]:
    """The entries that close an order which never started: its fee (0 when free) is kept, the rest goes back."""
    if charge.delivered_wh:
        raise ValueError("an order that delivered energy is settled, not cancelled")
    totals = _base(entries, charge)
    metered, fee = _charging(totals, charge, K.CANCELLATION_FEE)
    return _missing(entries, charge, [metered, fee, *_closing(totals, charge, metered, 0)])


# ---------------------------------------------------------------- one revision over another


@dataclass(frozen=True, slots=True)
class _Line:
    kind: EntryKind
    amount_minor: int
    wh: int = 0
    is_marker: bool = False  # posted even when it says nothing changed: the revision happened


def _base(entries: Iterable[LedgerEntry], charge: Charge) -> Totals:
    """What stood before this revision. What came from outside since belongs to the next one."""
    entries = tuple(entries)
    if any(posted.revision > charge.revision for posted in entries):
        raise ValueError(f"order {charge.order_id} is beyond revision {charge.revision}")
    if any(posted.order_id != charge.order_id for posted in entries):
        raise ValueError(f"entries of another order among those of {charge.order_id}")
    return Totals(posted for posted in entries if posted.revision < charge.revision)


def _part(charge: Charge) -> str:
    return f"settle:{charge.revision}"


def _missing(entries: Iterable[LedgerEntry], charge: Charge, lines: Iterable[_Line]) -> tuple[LedgerEntry, ...]:
    wanted = {
        made.idem_key: made
        for line in lines
        if line.amount_minor or line.wh or line.is_marker
        for made in [
            entry(
                charge.order_id,
                charge.revision,
                line.kind,
                line.amount_minor,
                at_ms=charge.at_ms,
                wh=line.wh,
                part=_part(charge),
            )
        ]
    }
    for posted in entries:
        if not posted.idem_key.endswith(f":{_part(charge)}"):
            continue
        made = wanted.pop(posted.idem_key, None)
        if made is None or (made.amount_minor, made.wh) != (posted.amount_minor, posted.wh):
            raise ValueError(f"revision {charge.revision} of {charge.order_id} was settled differently")
    return tuple(wanted.values())


def _charging(totals: Totals, charge: Charge, kind: EntryKind) -> tuple[_Line, _Line]:
    """METERED closes as much of the order as the bill is worth; a cancellation delivers nothing."""
    total = charge.breakdown.total_minor
    delivered = total if kind is K.PRICED else 0
    return (
        _Line(
            K.METERED,
            -delivered - totals.of(K.METERED),
            -charge.delivered_wh - totals.wh(K.METERED),
            is_marker=True,
        ),
        _Line(kind, totals.charged_minor - total, is_marker=True),
    )


def _returning(totals: Totals, charge: Charge, margin: int) -> list[_Line]:
    """Provisional: give back what neither the proven energy nor the margin needs. Nothing is asked for."""
    held = totals.account(Account.HOLD)
    free = max(0, totals.paid_minor + held - charge.breakdown.total_minor - max(0, margin))
    release = min(free, held)
    refund = min(free - release, totals.paid_minor)
    return [_Line(K.RELEASE, -release), *_refund_lines(totals, refund)]


def _closing(totals: Totals, charge: Charge, metered: _Line, waived: int) -> list[_Line]:
    """Final: every hold ends, what is beyond the price goes back, what is short of it is waived or due."""
    held = totals.account(Account.HOLD)
    owed = charge.breakdown.total_minor - waived
    capture = min(max(0, owed - totals.paid_minor), held)
    in_hand = totals.paid_minor + capture
    short = max(0, owed - in_hand)
    # A fleet's promise follows the bill; from a buyer what was forgiven is not asked for again.
    promised = short if totals.is_on_account else 0
    forgiven = min(totals.of(K.FORGIVEN), short - promised)
    due = short - promised - forgiven
    open_minor = totals.account(Account.ORDER) + metered.amount_minor
    open_wh = totals.balance_wh + metered.wh
    back = _refund_lines(totals, max(0, in_hand - owed))
    finder = _finder_minor(totals, charge, back)
    return [
        _Line(K.CAPTURE, -capture),
        _Line(K.COLLECTED, capture),
        _Line(K.RELEASE, capture - held),
        *back,
        _Line(K.ON_ACCOUNT, promised),
        _Line(K.WRITE_OFF, waived - totals.of(K.WRITE_OFF)),
        _Line(K.FORGIVEN, forgiven - totals.of(K.FORGIVEN)),
        _Line(K.TOP_UP_DUE, due - totals.account(Account.DUE)),
        _Line(K.FINDER_RETAINED, totals.of(K.FINDER_COST) - finder),
        _Line(K.FINDER_COST, finder - totals.of(K.FINDER_COST)),
        _Line(K.DIFFERENCE, -open_minor, -open_wh),
    ]


def _refund_lines(totals: Totals, amount_minor: int) -> list[_Line]:
    """The buyer app gives back what it took, also when it has passed it on: then its account stands below zero, and
    its next statement carries that (BECKN 4.10). A fleet is never paid back: its promise shrinks, and what it paid too
    much stands on its next statement."""
    if totals.is_on_account:
        return [_Line(K.ON_ACCOUNT, -amount_minor)]
    by_bap = min(amount_minor, max(0, totals.of(K.BAP_COLLECTED) + totals.of(K.BAP_REFUND)))
    return [_Line(K.BAP_REFUND, -by_bap), _Line(K.REFUND, by_bap - amount_minor)]


def _finder_minor(totals: Totals, charge: Charge, back: Iterable[_Line]) -> int:
    """The buyer app keeps its fee only out of money it still has after this; out of ours we pay it by invoice."""
    returned = sum(line.amount_minor for line in back if line.kind is K.BAP_REFUND)
    has_money = totals.of(K.BAP_COLLECTED) + totals.of(K.BAP_REFUND) + returned > 0
    return to_minor(charge.breakdown.amount(Role.FINDER)) if has_money else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiver:
    """How much of a shortfall the buyer is not asked for."""

    terms: Terms
    want: Want
    our_fault: bool

    def minor(self, totals: Totals, charge: Charge) -> int:
        """Worked out afresh from the whole bill at every revision; only the difference is posted."""
        total = charge.breakdown.total_minor
        secured = totals.paid_minor + totals.account(Account.HOLD) - totals.top_up_kept_minor
        if totals.is_on_account:
            secured = totals.promised_minor  # what it grew by since came from bills
        shortfall = max(0, total - secured)
        waived = 0
        if self.our_fault:
            ceiling = max(totals.of(K.ORDERED), totals.secured_minor)
            waived = max(0, total - ceiling)
        if self.want.kind is WantKind.AMOUNT and shortfall <= AMOUNT_WAIVER_MINOR:
            waived = shortfall
        waived = min(shortfall, max(waived, self._within_tolerance(totals, charge)))
        if self.terms.pattern is Pattern.CPO_ABSORBS:
            waived += min(shortfall - waived, self.terms.absorb_cap_minor)
        return waived

    def _within_tolerance(self, totals: Totals, charge: Charge) -> int:
        """The price of energy beyond the order, while it is too little to raise a demand for it."""
        ordered_wh = totals.wh(K.ORDERED)
        over_wh = charge.delivered_wh - ordered_wh
        if not 0 < over_wh <= tolerance_wh(ordered_wh):
            return 0
        metered_minor = charge.breakdown.total_minor - to_minor(charge.breakdown.amount(Role.IDLE))
        # One paisa more: the order's price and the bill were each rounded.
        return -(-metered_minor * over_wh // charge.delivered_wh) + 1
