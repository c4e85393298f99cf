"""Statements of a month: the account of a buyer app or a fleet, and the sessions that were billed for them.

An account is the ledger's own: BAP (what a buyer app collected and has not passed on) or FLEET (what a fleet has to
pay for its orders), read over all orders of that party. Every entry counts in the month of its own time, so what is
open at the end of a month is what is open at the beginning of the next one, and all movements together are the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from csms.domain.breakdown import Breakdown, Role
from csms.domain.invoice import DocumentKind
from csms.domain.ledger import Account as LedgerAccount
from csms.domain.ledger import EntryKind, LedgerEntry
from csms.domain.taxes import TaxEntry, Withholding, entry_at, withheld_minor
from csms.domain.units import local, to_minor, to_ms

K = EntryKind
WITHHELD: Final = "#withheld"
"""How the reference of a payment ends when no money came but tax was deducted at source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account in paise. All columns are positive as their names say; opening + collected − refunded − retained −
    remitted − withheld = closing. Of a fleet, `collected` is what was put on its account, `remitted` what it paid."""

    opening_minor: int = 0
    collected_minor: int = 0
    refunded_minor: int = 0
    retained_minor: int = 0  # finder fee
    remitted_minor: int = 0
    withheld_minor: int = 0  # tax deducted at source, as the buyer app told it with what it paid over
    closing_minor: int = 0
    withholding_minor: int = 0  # to be deducted for this period, by configuration
    withholding_open_minor: int = 0  # of all periods until now, not yet recorded
    withholding_words: str = ""
    orders: int = 0
    own_billed_minor: int = 0  # where we collected: billed in this period
    own_finder_minor: int = 0  # and the finder fee in it, which we owe the buyer app

    @property
    def to_remit_minor(self) -> int:
        """What the buyer app is to pay over: what is open, less what it has to deduct and has not told."""
        return self.closing_minor - self.withholding_open_minor

    @property
    def is_empty(self) -> bool:
        """Nothing was open and nothing happened."""
        return not (self.opening_minor or self.orders or self.own_billed_minor or self.own_finder_minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class CdrTotals:
    """What was billed in a period. Corrections are bills of sessions that had been billed before."""

    sessions: int = 0
    corrections: int = 0
    energy_wh: int = 0
    amount_minor: int = 0
    tax_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement as it stands for ever: the account of a buyer app, its sessions, or both of a fleet."""

    kind: DocumentKind
    number: str
    issued_ms: int
    zone: str
    provider: str
    party: str
    period: str
    from_ms: int
    to_ms: int
    currency: str
    account: Account | None = None
    sessions: CdrTotals | None = None


# ---------------------------------------------------------------- the period


def month(period: str, zone: str) -> tuple[int, int]:
    """`2026-11` -> (its first instant, the first of the next one), UTC ms. `ValueError` for what is no month."""
    try:
        first = datetime.strptime(period, "%Y-%m")  # noqa: DTZ007 - civil time, its zone is set below
    except ValueError:
        raise ValueError(f"{period!r} is no month like 2026-11") from None
    if first.strftime("%Y-%m") != period:
        raise ValueError(f"{period!r} is no month like 2026-11")
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    there = ZoneInfo(zone)
    return to_ms(first.replace(tzinfo=there)), to_ms(after.replace(tzinfo=there))


def month_of(at_ms: int, zone: str) -> str:
    """The month an instant lies in."""
    return f"{local(at_ms, zone):%Y-%m}"


def month_before(period: str) -> str:
    """The month before a month."""
    year, month_no = int(period[:4]), int(period[5:7])
    return f"{year - (month_no == 1):04d}-{(month_no - 2) % 12 + 1:02d}"


# ---------------------------------------------------------------- the account


@dataclass(slots=True)
class AccountReader:
    """Reads the entries of all orders of one party, in any order, one pass; counts those of its account."""

    from_ms: int
    to_ms: int
    zone: str
    taxes: tuple[TaxEntry, ...] = ()
    of: LedgerAccount = LedgerAccount.BAP
    _sums: dict[EntryKind, int] = field(default_factory=lambda: dict.fromkeys(EntryKind, 0))
    _withheld: int = 0
    _opening: int = 0
    _withheld_before: int = 0
    _orders: set[str] = field(default_factory=set)
    _bases: dict[tuple[str, Withholding | None], int] = field(default_factory=dict)

    def take(self, entry: LedgerEntry) -> bool:
        """Count an entry; whether it is a movement of this account in this period."""
        if entry.account is not self.of or entry.at_ms >= self.to_ms:
            return False
        if entry.kind in (K.BAP_COLLECTED, K.BAP_REFUND):
            in_force = entry_at(self.taxes, entry.at_ms)
            key = month_of(entry.at_ms, self.zone), in_force.withholding if in_force is not None else None
            self._bases[key] = self._bases.get(key, 0) + entry.amount_minor
        is_withheld = is_withholding(entry)
        if entry.at_ms < self.from_ms:
            self._opening += entry.amount_minor
            self._withheld_before -= entry.amount_minor if is_withheld else 0
            return False
        self._orders.add(entry.order_id)
        if is_withheld:
            self._withheld -= entry.amount_minor
        else:
            self._sums[entry.kind] += entry.amount_minor
        return True

    def account(self, *, own_billed_minor: int = 0, own_finder_minor: int = 0) -> Account:
        """The account when all entries are in."""
        sums = self._sums
        moved = sum(sums.values()) - self._withheld
        this_month = month_of(self.from_ms, self.zone)
        expected = sum(withheld_minor(base, rate) for (when, rate), base in self._bases.items() if when == this_month)
        before = sum(withheld_minor(base, rate) for (when, rate), base in self._bases.items() if when != this_month)
        rates = {rate for when, rate in self._bases if when == this_month and rate is not None}
        return Account(
            opening_minor=self._opening,
            collected_minor=sums[K.BAP_COLLECTED] + sums[K.ON_ACCOUNT],
            refunded_minor=-sums[K.BAP_REFUND],
            retained_minor=-sums[K.FINDER_RETAINED],
            remitted_minor=-sums[K.REMITTED] - sums[K.ACCOUNT_PAID],
            withheld_minor=self._withheld,
            closing_minor=self._opening + moved,
            withholding_minor=expected,
            withholding_open_minor=before + expected - self._withheld_before - self._withheld,
            withholding_words=", ".join(
                sorted(f"section {rate.section}, {rate.percent.normalize():f}%" for rate in rates)
            ),
            orders=len(self._orders),
            own_billed_minor=own_billed_minor,
            own_finder_minor=own_finder_minor,
        )


def is_withholding(entry: LedgerEntry) -> bool:
    """An entry for which no money came: tax deducted at source."""
    return entry.kind in (K.REMITTED, K.ACCOUNT_PAID) and (entry.ref or "").endswith(WITHHELD)


# ---------------------------------------------------------------- what was billed


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """One billing of a session: what this revision adds to the one before, Wh and paise."""

    session_no: int
    revision: int
    billed_ms: int
    energy_wh: int
    amount_minor: int
    tax_minor: int
    finder_minor: int
    is_correction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A stored bill of a session. Without a price (`breakdown` None) it is of energy only."""

    session_no: int
    revision: int
    billed_ms: int
    energy_wh: int
    breakdown: Breakdown | None


def billed(bill: Bill, before: Bill | None) -> Billed:
    """The difference that `bill` makes to the final bill `before` it."""
    was_wh, was = (before.energy_wh, _sums(before.breakdown)) if before is not None else (0, _sums(None))
    now = _sums(bill.breakdown)
    return Billed(
        session_no=bill.session_no,
        revision=bill.revision,
        billed_ms=bill.billed_ms,
        energy_wh=bill.energy_wh - was_wh,
        amount_minor=now["amount"] - was["amount"],
        tax_minor=now["tax"] - was["tax"],
        finder_minor=now["finder"] - was["finder"],
        is_correction=before is not None,
    )


def _sums(breakdown: Breakdown | None) -> Mapping[str, int]:
    if breakdown is None:
        return {"amount": 0, "tax": 0, "finder": 0}
    return {
        "amount": breakdown.total_minor,
        "tax": to_minor(breakdown.tax),
        "finder": to_minor(breakdown.amount(Role.FINDER)),
    }


def totals(lines: Iterable[Billed]) -> CdrTotals:
    """The sums of a statement of sessions."""
    sessions = corrections = energy_wh = amount_minor = tax_minor = 0
    for line in lines:
        corrections += line.is_correction
        sessions += not line.is_correction
        energy_wh += line.energy_wh
        amount_minor += line.amount_minor
        tax_minor += line.tax_minor
    return CdrTotals(
        sessions=sessions,
        corrections=corrections,
        energy_wh=energy_wh,
        amount_minor=amount_minor,
        tax_minor=tax_minor,
    )
