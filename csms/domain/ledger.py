"""The append-only money and energy record of one order: what was ordered, held, delivered, taken, given back.

Each entry has one signed amount (paise) and one signed energy (Wh) and stands in one of six accounts. A plus
opens something (an order to deliver, a promise of money, money in hand); a minus fulfils, uses or returns it.

    account  plus                                        minus
    ORDER    ORDERED                                     METERED, DIFFERENCE (undelivered; plus when beyond)
    HOLD     HELD                                        CAPTURE, RELEASE
    BUYER    COLLECTED, WRITE_OFF, FINDER_COST,          PRICED, CANCELLATION_FEE, REFUND
             FORGIVEN
    DUE      TOP_UP_DUE (owed by the buyer)              TOP_UP_PAID
    BAP      BAP_COLLECTED (money the buyer app took)    BAP_REFUND, FINDER_RETAINED, REMITTED
    FLEET    ON_ACCOUNT (its fleet pays by the month)    ON_ACCOUNT (back), ACCOUNT_PAID

Money moving between accounts makes two entries: CAPTURE, TOP_UP_PAID, ACCOUNT_PAID and REMITTED each come with a
COLLECTED, FINDER_RETAINED with a FINDER_COST. An order on account is promised at confirm and the promise follows the
bill, up and down; nothing of it is ever refunded, so after an early payment the account may stand below zero: the
fleet's next statement carries it. FORGIVEN takes a debt off the buyer (its minus in DUE is a TOP_UP_DUE) and is no
rebate: the bill stays what it was. An entry posted by a later revision carries only the difference, so any kind
may then have the other sign; nothing is reversed and posted again.

THE INVARIANT: after a final settlement the plain sum of `amount_minor` over all entries is 0, and so is the sum
of `wh`; ORDER and HOLD are each 0 too. Every rupee of the price is then in hand, promised by somebody named
(DUE, BAP, FLEET), or written off. `outstanding` tells what is open at any moment, `summary` what became of the order.

1. Hold 550 for an order of 500, 520 delivered (SESSIONS 5.9 example 1, pattern HOLD)

    ORDER   ORDERED +500.00  METERED -520.00  DIFFERENCE +20.00      = 0
    HOLD    HELD +550.00     CAPTURE -520.00  RELEASE -30.00         = 0
    BUYER   PRICED -520.00   COLLECTED +520.00                       = 0

2. Prepaid 500, power cut, 111.60 provisional then 114.12 (example 2; margin 2.97)

    provisional  METERED -111.60  PRICED -111.60  REFUND -385.43     (2.97 stays in hand, order still open)
    final        METERED   -2.52  PRICED   -2.52  REFUND   -0.45  DIFFERENCE -385.88
    ORDER   500.00 - 111.60 - 2.52 - 385.88                          = 0
    BUYER   500.00 - 111.60 - 385.43 - 2.52 - 0.45                   = 0

3. Prepaid 500, 520 delivered, pattern TOP_UP; later the buyer pays

    ORDER   ORDERED +500.00    METERED -520.00  DIFFERENCE +20.00    = 0
    BUYER   COLLECTED +500.00  PRICED -520.00                        = -20 (owed, as DUE says)
    DUE     TOP_UP_DUE +20.00                                        = +20
    paid    TOP_UP_PAID -20.00 (DUE)  COLLECTED +20.00 (BUYER)       = 0 in every account
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Account(StrEnum):
    ORDER = "order"
    HOLD = "hold"
    BUYER = "buyer"
    DUE = "due"
    BAP = "bap"
    FLEET = "fleet"


class EntryKind(StrEnum):
    """What an entry says happened."""

    ORDERED = "ORDERED"
    METERED = "METERED"
    DIFFERENCE = "DIFFERENCE"
    HELD = "HELD"
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    COLLECTED = "COLLECTED"
    PRICED = "PRICED"
    CANCELLATION_FEE = "CANCELLATION_FEE"
    REFUND = "REFUND"
    WRITE_OFF = "WRITE_OFF"
    FINDER_COST = "FINDER_COST"
    TOP_UP_DUE = "TOP_UP_DUE"
    TOP_UP_PAID = "TOP_UP_PAID"
    BAP_COLLECTED = "BAP_COLLECTED"
    BAP_REFUND = "BAP_REFUND"
    FINDER_RETAINED = "FINDER_RETAINED"
    REMITTED = "REMITTED"
    ON_ACCOUNT = "ON_ACCOUNT"
    ACCOUNT_PAID = "ACCOUNT_PAID"
    FORGIVEN = "FORGIVEN"


K = EntryKind

ACCOUNTS: Final[dict[EntryKind, Account]] = {
    K.ORDERED: Account.ORDER,
    K.METERED: Account.ORDER,
    K.DIFFERENCE: Account.ORDER,
    K.HELD: Account.HOLD,
    K.CAPTURE: Account.HOLD,
    K.RELEASE: Account.HOLD,
    K.COLLECTED: Account.BUYER,
    K.PRICED: Account.BUYER,
    K.CANCELLATION_FEE: Account.BUYER,
    K.REFUND: Account.BUYER,
    K.WRITE_OFF: Account.BUYER,
    K.FINDER_COST: Account.BUYER,
    K.TOP_UP_DUE: Account.DUE,
    K.TOP_UP_PAID: Account.DUE,
    K.BAP_COLLECTED: Account.BAP,
    K.BAP_REFUND: Account.BAP,
    K.FINDER_RETAINED: Account.BAP,
    K.REMITTED: Account.BAP,
    K.ON_ACCOUNT: Account.FLEET,
    K.ACCOUNT_PAID: Account.FLEET,
    K.FORGIVEN: Account.BUYER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line that is never changed. `idem_key` is unique: a store inserts it or does nothing (SESSIONS 5.5).

    `ref` is the payment provider's or network's own reference, where there is one.
    """

    order_id: str
    revision: int
    kind: EntryKind
    amount_minor: int
    wh: int
    idem_key: str
    at_ms: int
    ref: str | None = None

    @property
    def account(self) -> Account:
        return ACCOUNTS[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """What is open now, in paise. All but `collected_minor` and `receivable_minor` are 0 when all is done."""

    ordered_minor: int  # ordered and neither delivered nor lapsed
    held_minor: int  # held and neither captured nor released
    collected_minor: int  # money of the buyer in our hands, refunds taken off
    unspent_minor: int  # in hand, at the buyer app or due, beyond what was priced; below 0 what is uncovered
    due_minor: int  # asked of the buyer and not paid
    receivable_minor: int  # collected by the buyer app and not yet passed on; below 0 it is owed to the app
    on_account_minor: int = 0  # owed by the fleet whose driver it was; below 0 owed to it

    @property
    def is_settled(self) -> bool:
        """Order and holds closed and the price covered; a top-up or a remittance may still be on its way."""
        return not (self.ordered_minor or self.held_minor or self.unspent_minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of an order: ordered_wh = delivered_wh + released_wh - over_wh once it is settled."""

    ordered_minor: int
    held_minor: int
    collected_minor: int  # everything that came in, by us or by the buyer app
    delivered_minor: int  # the bill
    cancellation_fee_minor: int
    released_minor: int
    refunded_minor: int
    due_minor: int
    written_off_minor: int
    finder_minor: int
    receivable_minor: int
    ordered_wh: int
    delivered_wh: int
    released_wh: int
    over_wh: int
    balance_minor: int  # the sum of every amount; 0 once settled
    balance_wh: int
    on_account_minor: int = 0  # owed by the fleet whose driver it was; below 0 owed to it
    forgiven_minor: int = 0  # debt taken off the buyer


class Totals:
    """Sums of a ledger by kind and by account, read in one pass."""

    __slots__ = ("_accounts", "_kinds", "_wh", "is_on_account", "promised_minor", "top_up_kept_minor")

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        self._kinds = dict.fromkeys(EntryKind, 0)
        self._wh = dict.fromkeys(EntryKind, 0)
        self._accounts = dict.fromkeys(Account, 0)
        # Top-ups the buyer has paid and not got back: a later refund returns these first, so that a debt
        # that was paid and then turned out smaller does not look like money that was there from the start.
        self.top_up_kept_minor = 0
        self.is_on_account = False  # a fleet promised to pay, even if nothing yet
        self.promised_minor = 0  # by the fleet, before charging
        for entry in entries:
            self._kinds[entry.kind] += entry.amount_minor
            self._wh[entry.kind] += entry.wh
            self._accounts[entry.account] += entry.amount_minor
            if entry.kind is K.ON_ACCOUNT:
                self.is_on_account = True
                self.promised_minor += entry.amount_minor if entry.revision == 0 else 0
            if entry.kind is K.TOP_UP_PAID:
                self.top_up_kept_minor -= entry.amount_minor
            elif entry.kind in (K.REFUND, K.BAP_REFUND):
                self.top_up_kept_minor = max(0, self.top_up_kept_minor + entry.amount_minor)

    def of(self, kind: EntryKind) -> int:
        return self._kinds[kind]

    def wh(self, kind: EntryKind) -> int:
        return self._wh[kind]

    def account(self, account: Account) -> int:
        return self._accounts[account]

    @property
    def balance_minor(self) -> int:
        return sum(self._kinds.values())

    @property
    def balance_wh(self) -> int:
        return sum(self._wh.values())

    @property
    def charged_minor(self) -> int:
        """What the order costs the buyer so far: its bill, or the fee for cancelling it."""
        return -self.of(K.PRICED) - self.of(K.CANCELLATION_FEE)

    @property
    def paid_minor(self) -> int:
        """Money that came for this order, or that its fleet promised, and did not go back, wherever it lies."""
        elsewhere = self.account(Account.BAP) + self.account(Account.FLEET)
        return self.of(K.COLLECTED) + self.of(K.REFUND) + self.of(K.FINDER_COST) + elsewhere

    @property
    def secured_minor(self) -> int:
        """What was held, paid or promised before charging: what only moved between accounts counts once."""
        if self.is_on_account:
            return self.promised_minor
        moved = self.of(K.CAPTURE) + self.of(K.TOP_UP_PAID) + self.of(K.REMITTED)
        return self.of(K.HELD) + self.of(K.COLLECTED) + self.of(K.BAP_COLLECTED) + moved


def outstanding(entries: Iterable[LedgerEntry]) -> Outstanding:
    """What is still open on this order."""
    totals = Totals(entries)
    money = (Account.BUYER, Account.DUE, Account.BAP, Account.FLEET)
    return Outstanding(
        ordered_minor=totals.account(Account.ORDER),
        held_minor=totals.account(Account.HOLD),
        collected_minor=totals.of(K.COLLECTED) + totals.of(K.REFUND),
        unspent_minor=sum(totals.account(account) for account in money),
        due_minor=totals.account(Account.DUE),
        receivable_minor=totals.account(Account.BAP),
        on_account_minor=totals.account(Account.FLEET),
    )


def summary(entries: Iterable[LedgerEntry]) -> Summary:
    """The order in figures; every figure is positive as its name says it."""
    totals = Totals(entries)
    ordered_wh, delivered_wh, apart_wh = (
        totals.wh(K.ORDERED),
        -totals.wh(K.METERED),
        -totals.wh(K.DIFFERENCE),
    )
    return Summary(
        ordered_minor=totals.of(K.ORDERED),
        held_minor=totals.of(K.HELD),
        collected_minor=totals.of(K.COLLECTED) + totals.of(K.BAP_COLLECTED) + totals.of(K.REMITTED),
        delivered_minor=-totals.of(K.PRICED),
        cancellation_fee_minor=-totals.of(K.CANCELLATION_FEE),
        released_minor=-totals.of(K.RELEASE),
        refunded_minor=-totals.of(K.REFUND) - totals.of(K.BAP_REFUND),
        due_minor=totals.account(Account.DUE),
        written_off_minor=totals.of(K.WRITE_OFF),
        finder_minor=totals.of(K.FINDER_COST),
        receivable_minor=totals.account(Account.BAP),
        ordered_wh=ordered_wh,
        delivered_wh=delivered_wh,
        released_wh=max(0, apart_wh),
        over_wh=max(0, -apart_wh),
        balance_minor=totals.balance_minor,
        balance_wh=totals.balance_wh,
        on_account_minor=totals.account(Account.FLEET),
        forgiven_minor=totals.of(K.FORGIVEN),
    )


def latest_revision(entries: Iterable[LedgerEntry]) -> int:
    """The highest revision posted; 0 before the first settlement."""
    return max((entry.revision for entry in entries), default=0)


# ---------------------------------------------------------------- what comes from outside
#
# Each returns the entries to append, with the revision the ledger stands at. Their keys rest on the provider's
# reference, so the same news told twice makes the same key and the store keeps one.


def order_placed(order_id: str, *, amount_minor: int, energy_wh: int, at_ms: int) -> tuple[LedgerEntry, ...]:
    """The order as confirmed: its price without any provision, and its energy."""
    return (entry(order_id, 0, K.ORDERED, amount_minor, at_ms=at_ms, wh=energy_wh, part="order"),)


def money_held(
    entries: Iterable[LedgerEntry], order_id: str, *, amount_minor: int, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """A hold or mandate the bank granted us."""
    return (entry(order_id, latest_revision(entries), K.HELD, amount_minor, at_ms=at_ms, ref=ref),)


def hold_lost(entries: Iterable[LedgerEntry], order_id: str, *, ref: str, at_ms: int) -> tuple[LedgerEntry, ...]:
    """The hold ended at the bank before anything was taken of it: nothing of it can be captured any more."""
    entries = tuple(entries)
    held_minor = Totals(entries).account(Account.HOLD)
    if held_minor <= 0:
        return ()
    return (
        entry(order_id, latest_revision(entries), K.RELEASE, -held_minor, at_ms=at_ms, ref=ref, part=f"lost:{ref}"),
    )


def money_collected(
    entries: Iterable[LedgerEntry], order_id: str, *, amount_minor: int, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """Prepaid money that arrived with us."""
    return (entry(order_id, latest_revision(entries), K.COLLECTED, amount_minor, at_ms=at_ms, ref=ref),)


def money_collected_by_bap(
    entries: Iterable[LedgerEntry], order_id: str, *, amount_minor: int, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """Money the buyer app says it took; we trust its signature and have a receivable (BECKN 4.7)."""
    return (entry(order_id, latest_revision(entries), K.BAP_COLLECTED, amount_minor, at_ms=at_ms, ref=ref),)


def put_on_account(
    entries: Iterable[LedgerEntry], order_id: str, *, amount_minor: int, fleet_id: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """A fleet pays for this order later, with all its others; `amount_minor` is the order's price (BECKN 7.3)."""
    revision = latest_revision(entries)
    return (entry(order_id, revision, K.ON_ACCOUNT, amount_minor, at_ms=at_ms, ref=fleet_id, part="order"),)


def account_paid(
    entries: Iterable[LedgerEntry], order_id: str, *, amount_minor: int, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """The fleet paid for this order."""
    revision = latest_revision(entries)
    return (
        entry(order_id, revision, K.ACCOUNT_PAID, -amount_minor, at_ms=at_ms, ref=ref),
        entry(order_id, revision, K.COLLECTED, amount_minor, at_ms=at_ms, ref=ref, part=f"account:{ref}"),
    )


def forgiven(entries: Iterable[LedgerEntry], order_id: str, *, at_ms: int) -> tuple[LedgerEntry, ...]:
    """What is due now is given up; nothing when nothing is due. A later revision asks only for what is new."""
    entries = tuple(entries)
    due_minor = Totals(entries).account(Account.DUE)
    if due_minor <= 0:
        return ()
    revision = latest_revision(entries)
    # Once per debt: the same debt forgiven twice makes the same keys, another one after it makes others.
    part = f"forgiven:{revision}:{sum(1 for posted in entries if posted.kind is K.FORGIVEN)}"
    return (
        entry(order_id, revision, K.TOP_UP_DUE, -due_minor, at_ms=at_ms, part=part),
        entry(order_id, revision, K.FORGIVEN, due_minor, at_ms=at_ms, part=part),
    )


def due_since_ms(entries: Iterable[LedgerEntry]) -> int | None:
    """Since when something has been due without a break; None when nothing is. Entries as they were posted."""
    due_minor, since_ms = 0, None
    for posted in entries:
        if posted.account is not Account.DUE or not posted.amount_minor:
            continue
        due_minor += posted.amount_minor
        if due_minor <= 0:
            since_ms = None
        elif since_ms is None:
            since_ms = posted.at_ms
    return since_ms


def top_up_paid(
    entries: Iterable[LedgerEntry],
    order_id: str,
    *,
    amount_minor: int,
    ref: str,
    at_ms: int,
    by_bap: bool = False,
) -> tuple[LedgerEntry, ...]:
    """The buyer paid what was due, to us or to the buyer app."""
    revision = latest_revision(entries)
    into = K.BAP_COLLECTED if by_bap else K.COLLECTED
    return (
        entry(order_id, revision, K.TOP_UP_PAID, -amount_minor, at_ms=at_ms, ref=ref),
        entry(order_id, revision, into, amount_minor, at_ms=at_ms, ref=ref, part=f"top-up:{ref}"),
    )


def remitted(
    entries: Iterable[LedgerEntry], order_id: str, *, amount_minor: int, ref: str, at_ms: int
) -> tuple[LedgerEntry, ...]:
    """The buyer app passed on what it had collected."""
    revision = latest_revision(entries)
    return (
        entry(order_id, revision, K.REMITTED, -amount_minor, at_ms=at_ms, ref=ref),
        entry(order_id, revision, K.COLLECTED, amount_minor, at_ms=at_ms, ref=ref, part=f"remitted:{ref}"),
    )


def entry(
    order_id: str,
    revision: int,
    kind: EntryKind,
    amount_minor: int,
    *,
    at_ms: int,
    wh: int = 0,
    ref: str | None = None,
    part: str | None = None,
) -> LedgerEntry:
    """One entry. Its key is the order, the kind and `part`, which defaults to the reference.

    Facts told from outside are unique by their reference alone: told again after a revision they are still
    the same fact. Settlement puts its revision into `part`.
    """
    where = part if part is not None else ref
    if where is None:
        raise ValueError("an entry needs a reference or a part to be told from its like")
    return LedgerEntry(
        order_id=order_id,
        revision=revision,
        kind=kind,
        amount_minor=amount_minor,
        wh=wh,
        idem_key=f"{order_id}:{kind}:{where}",
        at_ms=at_ms,
        ref=ref,
    )
