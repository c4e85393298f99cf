"""The order machine: its table, what it refuses, and that told twice is told once."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain import order_facts as f
from csms.domain.breakdown import Breakdown
from csms.domain.order import (
    TRANSITIONS,
    AskStart,
    AskStop,
    AskTopUp,
    Begin,
    Bill,
    Cancel,
    CancelledBy,
    CollectedBy,
    Command,
    Confirm,
    End,
    Expire,
    Fail,
    Initialise,
    Interrupt,
    Order,
    Payment,
    PaymentStatus,
    RecordPayment,
    RefundDone,
    Renew,
    Requote,
    Resume,
    Slot,
    StartFailed,
    State,
    TopUpPaid,
    Want,
    WantKind,
    decide,
    evolve,
    quoted_fact,
)
from csms.domain.quote import quote
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import CancellationPolicy, Rate, Slice, Tariff, Terms, Usage, bill

D = Decimal
S = State
TERMS = Terms(tariff=Tariff(tariff_id="t", rates=(Rate(per_kwh=D(18)),), service_fee=D(10)))
WANT = Want(kind=WantKind.ENERGY, energy_wh=5000)
QUOTE = quote(TERMS, WANT, start_ms=0, max_power_w=3300)
EXPIRES = 900_000


def payment(status: PaymentStatus = PaymentStatus.COMPLETED, minor: int = 10_000, payment_id: str = "pay-1") -> Payment:
    return Payment(payment_id=payment_id, status=status, amount_minor=minor, beneficiary="BPP")


PAID = payment()
UNPAID = payment(PaymentStatus.INITIATED)
FINAL = bill(TERMS, Usage(slices=(Slice(start_ms=0, end_ms=600_000, energy_wh=4000),)))


def fresh(**changes: object) -> Order:
    base = Order(
        order_id="o",
        network="v2",
        transaction_id="tx",
        bap_id="b.example",
        bap_uri="https://b.example",
        domain="beckn.one:deg:ev-charging",
        item_id="item",
        station="st",
        evse=1,
        connector=1,
        want=WANT,
        terms=TERMS,
        quote=QUOTE.breakdown,
        quoted_wh=QUOTE.energy_wh,
        hold_minor=QUOTE.hold_minor,
        quoted_at_ms=0,
        quote_expires_ms=EXPIRES,
    )
    return replace(base, **changes)


def after(order: Order, *commands: Command, now_ms: int = 1000) -> Order:
    for command in commands:
        order = evolve(order, decide(order, command, now_ms))
    return order


TO_PAID: tuple[Command, ...] = (Initialise(payment=UNPAID, order_number="N1"), RecordPayment(payment=PAID))
TO_CONFIRMED: tuple[Command, ...] = (*TO_PAID, Confirm(token="BK1"))
TO_ACTIVE: tuple[Command, ...] = (*TO_CONFIRMED, AskStart(), Begin(session_id="s", at_ms=2000))
BILL = Bill(breakdown=FINAL, delivered_wh=4000, minutes=10, revision=1)
END = End(at_ms=9000, cause="Local")

IN: dict[State, Order] = {
    S.QUOTED: fresh(),
    S.INITIALISED: after(fresh(), TO_PAID[0]),
    S.PAID: after(fresh(), *TO_PAID),
    S.CONFIRMED: after(fresh(), *TO_CONFIRMED),
    S.STARTING: after(fresh(), *TO_CONFIRMED, AskStart()),
    S.ACTIVE: after(fresh(), *TO_ACTIVE),
    S.INTERRUPTED: after(fresh(), *TO_ACTIVE, Interrupt(at_ms=3000)),
    S.STOPPING: after(fresh(), *TO_ACTIVE, AskStop()),
    S.COMPLETED: after(fresh(), *TO_ACTIVE, END, BILL),
    S.CANCELLED: after(fresh(), *TO_CONFIRMED, Cancel(reason="x")),
    S.EXPIRED: after(fresh(), Expire(), now_ms=EXPIRES + 1),
    S.FAILED: after(fresh(), *TO_CONFIRMED, Fail(reason="broken")),
}

WRONG = Why.WRONG_STATE
# One row per command, one column per state: the state after it, `None` for "already so", or the refusal.
COLUMNS = (
    S.QUOTED,
    S.INITIALISED,
    S.PAID,
    S.CONFIRMED,
    S.STARTING,
    S.ACTIVE,
    S.INTERRUPTED,
    S.STOPPING,
    S.COMPLETED,
    S.CANCELLED,
    S.EXPIRED,
    S.FAILED,
)
ROWS: list[tuple[Command, list[State | Why | None]]] = [
    (Initialise(payment=PAID), [S.INITIALISED, S.INITIALISED, None, *[WRONG] * 9]),
    (RecordPayment(payment=PAID), [WRONG, S.PAID, *[None] * 8, S.EXPIRED, None]),
    (Confirm(), [WRONG, Why.NOT_PAID, S.CONFIRMED, *[None] * 6, *[WRONG] * 3]),
    (
        AskStart(),
        [*[Why.NOT_STARTABLE] * 3, S.STARTING, *[None] * 4, *[Why.NOT_STARTABLE] * 4],
    ),
    (
        AskStop(),
        [
            *[Why.NOT_STOPPABLE] * 4,
            S.STOPPING,
            S.STOPPING,
            S.INTERRUPTED,
            None,
            None,
            *[Why.NOT_STOPPABLE] * 3,
        ],
    ),
    (
        Cancel(reason="changed my mind"),
        [*[S.CANCELLED] * 4, *[Why.NOT_CANCELLABLE] * 5, None, *[Why.NOT_CANCELLABLE] * 2],
    ),
    (Fail(reason="broken"), [WRONG, WRONG, S.FAILED, S.FAILED, S.FAILED, *[WRONG] * 6, None]),
    (
        Begin(session_id="s", at_ms=5),
        [*[WRONG] * 3, S.ACTIVE, S.ACTIVE, *[None] * 4, *[WRONG] * 3],
    ),
    (
        Begin(session_id="another", at_ms=5),
        [*[WRONG] * 3, S.ACTIVE, S.ACTIVE, *[WRONG] * 7],
    ),
    (StartFailed(reason="silent"), [*[WRONG] * 3, None, S.CONFIRMED, *[WRONG] * 7]),
    (
        Interrupt(at_ms=5),
        [*[WRONG] * 5, S.INTERRUPTED, None, S.INTERRUPTED, None, *[WRONG] * 3],
    ),
    (Resume(at_ms=5), [*[WRONG] * 5, None, S.ACTIVE, None, None, *[WRONG] * 3]),
    (END, [*[WRONG] * 5, *[S.COMPLETED] * 3, None, *[WRONG] * 3]),
    (BILL, [*[WRONG] * 8, None, *[WRONG] * 3]),
    (
        replace(BILL, provisional=True),
        [*[WRONG] * 5, S.ACTIVE, S.INTERRUPTED, S.STOPPING, None, *[WRONG] * 3],
    ),
    (
        RefundDone(payment=payment(payment_id="r")),
        [
            *[WRONG] * 5,
            S.ACTIVE,
            S.INTERRUPTED,
            S.STOPPING,
            S.COMPLETED,
            S.CANCELLED,
            S.EXPIRED,
            S.FAILED,
        ],
    ),
    (AskTopUp(payment=payment(payment_id="t")), [*[WRONG] * 8, S.COMPLETED, *[WRONG] * 3]),
    (TopUpPaid(payment=payment(payment_id="t")), [WRONG] * 12),
    (Expire(), [None] * 12),
]
CELLS = [
    pytest.param(state, command, outcome, id=f"{type(command).__name__}-{state}")
    for command, outcomes in ROWS
    for state, outcome in zip(COLUMNS, outcomes, strict=True)
]


@pytest.mark.parametrize(("state", "command", "outcome"), CELLS)
def test_every_command_in_every_state(state: State, command: Command, outcome: State | Why | None) -> None:
    order = IN[state]
    assert order.state is state
    if isinstance(outcome, Why):
        with pytest.raises(Refusal) as refused:
            decide(order, command, 1000)
        assert refused.value.why is outcome
        assert refused.value.detail.endswith(".")
        return
    facts = decide(order, command, 1000)
    assert bool(facts) == (outcome is not None)
    assert evolve(order, facts).state is (outcome or state)


def test_every_state_is_reached_and_the_table_has_no_dead_end() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) == set(TRANSITIONS.values())
    assert {fact for _, fact in TRANSITIONS} == set(f.FACTS.values())


def test_a_fact_out_of_place_is_a_bug() -> None:
    with pytest.raises(ValueError, match="cannot happen"):
        evolve(fresh(), (f.ChargingEnded(at_ms=0, cause="x"),))


def test_the_version_counts_facts() -> None:
    assert (fresh().version, IN[S.ACTIVE].version) == (0, 5)


# ---------------------------------------------------------------- price, init, payment


def test_an_expired_quote_is_neither_initialised_nor_confirmed() -> None:
    for order, command in (
        (fresh(), Initialise()),
        (after(fresh(), Initialise(collected_by=CollectedBy.BAP)), Confirm(evidence=PAID)),
    ):
        with pytest.raises(Refusal) as refused:
            decide(order, command, EXPIRES + 1)
        assert refused.value.why is Why.QUOTE_EXPIRED
        assert decide(order, command, EXPIRES)


def test_a_price_paid_in_time_is_honoured_later() -> None:
    assert decide(IN[S.PAID], Confirm(), EXPIRES + 1)
    renewal = Renew(terms=TERMS, quote=FINAL, quoted_wh=1, hold_minor=1, expires_ms=9 * EXPIRES)
    assert decide(IN[S.PAID], renewal, EXPIRES + 1) == ()


def test_a_quote_is_renewed_at_the_same_price_only() -> None:
    renewal = Renew(terms=TERMS, quote=QUOTE.breakdown, quoted_wh=5000, hold_minor=10_000, expires_ms=2 * EXPIRES)
    renewed = after(IN[S.INITIALISED], renewal, now_ms=EXPIRES + 1)
    assert (renewed.state, renewed.quote_expires_ms) == (S.INITIALISED, 2 * EXPIRES)
    assert decide(renewed, Expire(), EXPIRES + 1) == ()
    with pytest.raises(Refusal) as refused:
        decide(IN[S.INITIALISED], replace(renewal, quote=FINAL), EXPIRES + 1)
    assert refused.value.why is Why.QUOTE_EXPIRED


def test_selecting_again_undoes_an_init() -> None:
    fact = replace(quoted_fact(fresh()), item_id="other", want=Want(kind=WantKind.OPEN))
    members = {name: getattr(fact, name) for name in Requote.__dataclass_fields__}
    again = after(IN[S.INITIALISED], Requote(**members), now_ms=5000)
    assert (again.state, again.item_id, again.payment, again.quoted_at_ms) == (S.QUOTED, "other", None, 5000)
    with pytest.raises(Refusal):
        decide(IN[S.PAID], Requote(**members), 5000)


def test_an_init_told_twice_changes_nothing_and_a_corrected_one_does() -> None:
    order = IN[S.INITIALISED]
    assert decide(order, TO_PAID[0], 2000) == ()
    assert decide(order, Initialise(payment=UNPAID, wire={"buyer": {"name": "A"}}), 2000)
    assert after(order, Initialise(payment=UNPAID)).order_number == "N1"


def test_too_little_money_is_not_paid() -> None:
    for decide_it in (
        lambda: decide(IN[S.INITIALISED], RecordPayment(payment=payment(minor=9_999)), 0),
        lambda: decide(
            after(fresh(), Initialise(collected_by=CollectedBy.BAP)),
            Confirm(evidence=payment(minor=9_999)),
            0,
        ),
    ):
        with pytest.raises(Refusal) as refused:
            decide_it()
        assert refused.value.why is Why.NOT_PAID


def test_a_failed_payment_leaves_room_for_another() -> None:
    failed = after(IN[S.INITIALISED], RecordPayment(payment=payment(PaymentStatus.FAILED)))
    assert failed.state is S.INITIALISED
    assert after(failed, RecordPayment(payment=payment(payment_id="pay-2"))).state is S.PAID


def test_a_second_payment_is_not_swallowed() -> None:
    with pytest.raises(Refusal, match="has to go back"):
        decide(IN[S.PAID], RecordPayment(payment=payment(payment_id="pay-2")), 0)
    assert decide(IN[S.PAID], RecordPayment(payment=payment(PaymentStatus.FAILED, payment_id="pay-2")), 0) == ()


def test_a_hold_may_be_captured_later() -> None:
    held = after(IN[S.INITIALISED], RecordPayment(payment=payment(PaymentStatus.AUTHORIZED)))
    assert held.state is S.PAID
    assert after(held, RecordPayment(payment=PAID)).payment == PAID


def test_our_own_record_counts_not_the_claim_when_we_collect() -> None:
    with pytest.raises(Refusal) as refused:
        decide(IN[S.INITIALISED], Confirm(evidence=PAID), 1000)
    assert refused.value.why is Why.NOT_PAID


@pytest.mark.parametrize("status", list(PaymentStatus))
def test_the_claim_of_a_collecting_buyer_app_is_trusted(status: PaymentStatus) -> None:
    order = after(fresh(), Initialise(collected_by=CollectedBy.BAP))
    confirm = Confirm(evidence=payment(status), token="BK")
    if status in f.GOOD_AS_PAID:
        confirmed = after(order, confirm)
        assert (confirmed.state, confirmed.token) == (S.CONFIRMED, "BK")
        assert confirmed.paid_minor == 10_000
        return
    with pytest.raises(Refusal) as refused:
        decide(order, confirm, 1000)
    assert refused.value.why is Why.NOT_PAID
    assert after(order, replace(confirm, allow_postpaid=True)).paid_minor == 0


def test_an_app_that_collects_reports_no_payment_through_us() -> None:
    order = after(fresh(), Initialise(collected_by=CollectedBy.BAP))
    with pytest.raises(Refusal):
        decide(order, RecordPayment(payment=PAID), 1000)


def test_a_paid_order_does_not_expire() -> None:
    assert decide(IN[S.PAID], Expire(), EXPIRES + 1) == ()
    assert decide(IN[S.INITIALISED], Expire(), EXPIRES + 1)


# ---------------------------------------------------------------- charging


def test_a_failed_start_leaves_the_order_as_it_was() -> None:
    back = after(IN[S.STARTING], StartFailed(reason="Rejected"))
    assert (back.state, back.start_asked_at_ms) == (S.CONFIRMED, None)
    assert after(back, AskStart()).state is S.STARTING


def test_a_stop_asked_for_while_starting_waits_for_the_session() -> None:
    asked = after(IN[S.STARTING], AskStop())
    began = after(asked, Begin(session_id="s", at_ms=5))
    assert (asked.state, began.state, began.session_id) == (S.STOPPING, S.STOPPING, "s")
    assert after(began, END).state is S.COMPLETED
    never = after(asked, StartFailed(reason="x"))
    assert (never.state, never.stop_asked_at_ms) == (S.CONFIRMED, None)
    for news in (Interrupt(at_ms=5), END):
        with pytest.raises(Refusal):
            decide(asked, news, 0)


def test_a_stop_asked_for_in_the_dark_is_asked_again_in_the_light() -> None:
    dark = after(IN[S.INTERRUPTED], AskStop(), now_ms=4000)
    assert (dark.state, dark.stop_asked_at_ms) == (S.INTERRUPTED, 4000)
    assert decide(dark, AskStop(), 5000) == ()
    facts = decide(dark, Resume(at_ms=6000), 6000)
    assert [fact.kind for fact in facts] == ["ChargingResumed", "StopRequested"]
    light = evolve(dark, facts)
    assert (light.state, light.stop_asked_at_ms, light.interrupted_at_ms) == (S.STOPPING, 4000, None)


def test_a_break_keeps_its_beginning_and_takes_a_better_estimate() -> None:
    first = after(IN[S.ACTIVE], Interrupt(at_ms=3000))
    later = after(first, Interrupt(at_ms=4000, estimate=FINAL))
    assert (later.interrupted_at_ms, later.estimate) == (3000, FINAL)
    assert decide(later, Interrupt(at_ms=5000, estimate=FINAL), 0) == ()


# ---------------------------------------------------------------- bill and revisions


def test_a_bill_is_final_once_and_revised_after() -> None:
    ended = after(IN[S.ACTIVE], END)
    assert (ended.state, ended.is_billed) == (S.COMPLETED, False)
    billed = after(ended, BILL)
    assert (billed.final, billed.delivered_wh, billed.duration_min) == (FINAL, 4000, 10)
    assert decide(billed, BILL, 0) == ()
    more = replace(BILL, breakdown=QUOTE.breakdown, delivered_wh=5000, revision=2)
    (revised,) = decide(billed, more, 0)
    assert revised.kind == "OrderRevised"
    corrected = evolve(billed, (revised,))
    assert (corrected.final, corrected.revision) == (QUOTE.breakdown, 2)
    assert decide(corrected, BILL, 0) == ()
    with pytest.raises(Refusal, match="revision 2"):
        decide(corrected, replace(more, delivered_wh=4999), 0)


def test_a_provisional_bill_is_an_estimate_until_the_end() -> None:
    provisional = replace(BILL, provisional=True)
    dark = after(IN[S.INTERRUPTED], provisional)
    assert (dark.estimate, dark.final, dark.revision) == (FINAL, None, 1)
    assert decide(dark, provisional, 0) == ()
    ended = after(dark, END)
    with pytest.raises(Refusal):
        decide(ended, BILL, 0)
    billed = after(ended, replace(BILL, revision=2))
    assert (billed.final, billed.revision) == (FINAL, 2)


def test_refunds_and_top_ups_are_kept_once() -> None:
    order = IN[S.COMPLETED]
    refund = RefundDone(payment=payment(PaymentStatus.REFUNDED, payment_id="r"))
    asked = AskTopUp(payment=payment(PaymentStatus.PENDING, payment_id="t"))
    paid = TopUpPaid(payment=payment(PaymentStatus.COMPLETED, payment_id="t"))
    order = after(order, refund, refund, asked, asked, paid, paid)
    assert [p.payment_id for p in order.refunds] == ["r"]
    assert order.top_ups == (paid.payment,)


# ---------------------------------------------------------------- cancelling

SLOT = Slot(start_ms=10_000_000, end_ms=12_000_000)
FEE_TERMS = replace(TERMS, cancellation=CancellationPolicy(free_minutes=15, percent=D(30)))
FREE_UNTIL = SLOT.start_ms - 15 * 60_000


@pytest.mark.parametrize(
    ("by", "slot", "now_ms", "fee"),
    [
        (CancelledBy.BUYER, SLOT, FREE_UNTIL, 0),
        (CancelledBy.BUYER, SLOT, FREE_UNTIL + 1, 3_000),
        (CancelledBy.BUYER, None, FREE_UNTIL + 1, 0),
        (CancelledBy.NO_SHOW, SLOT, SLOT.end_ms, 3_000),
        (CancelledBy.PROVIDER, SLOT, SLOT.end_ms, 0),
    ],
)
def test_the_cancellation_fee(by: CancelledBy, slot: Slot | None, now_ms: int, fee: int) -> None:
    order = replace(IN[S.CONFIRMED], terms=FEE_TERMS, slot=slot)
    (fact,) = decide(order, Cancel(reason="x", by=by), now_ms)
    assert isinstance(fact, f.OrderCancelled)
    assert (fact.fee.total_minor, fact.refund_minor) == (fee, 10_000 - fee)
    assert evolve(order, (fact,)).cancellation_fee == fact.fee


def test_cancelling_what_nobody_paid_costs_nothing() -> None:
    order = replace(IN[S.INITIALISED], terms=FEE_TERMS, slot=SLOT)
    (fact,) = decide(order, Cancel(reason="x"), SLOT.start_ms)
    assert isinstance(fact, f.OrderCancelled)
    assert (fact.fee, fact.refund_minor) == (Breakdown(currency="INR", components=()), 0)


def test_an_order_without_a_policy_is_free_to_cancel() -> None:
    (fact,) = decide(replace(IN[S.CONFIRMED], slot=SLOT), Cancel(reason="x"), SLOT.end_ms)
    assert isinstance(fact, f.OrderCancelled)
    assert fact.refund_minor == 10_000


# ---------------------------------------------------------------- journal


def _journal(order: Order, commands: tuple[Command, ...]) -> tuple[Order, list[tuple[str, str]]]:
    lines = []
    for command in commands:
        facts = decide(order, command, 1000)
        lines += [(fact.kind, json.dumps(fact.body())) for fact in facts]
        order = evolve(order, facts)
    return order, lines


def test_a_journal_replays_to_the_same_order() -> None:
    start = fresh(slot=SLOT)
    commands = (*TO_ACTIVE, Interrupt(at_ms=3, estimate=FINAL), Resume(at_ms=4), AskStop(), END, BILL)
    order, lines = _journal(start, commands)
    replayed = evolve(start, [f.order_fact(kind, json.loads(body)) for kind, body in lines])
    assert replayed == order
    assert from_json(Order, json.loads(json.dumps(to_json(order)))) == order


def test_a_fresh_order_begins_with_its_quote() -> None:
    order = fresh(wire={"buyer": 1})
    fact = f.order_fact("OrderQuoted", json.loads(json.dumps(quoted_fact(order).body())))
    assert evolve(order, (fact,)) == replace(order, version=1)


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(ValueError, match="no fact"):
        f.order_fact("OrderTeleported", {})


# ---------------------------------------------------------------- properties

_commands: list[Command] = [command for command, _ in ROWS] + [
    Confirm(evidence=PAID, allow_postpaid=True),
    Initialise(collected_by=CollectedBy.BAP),
    Interrupt(at_ms=7, estimate=FINAL),
    RecordPayment(payment=payment(PaymentStatus.FAILED)),
    replace(BILL, revision=2),
    replace(BILL, revision=3, delivered_wh=1),
]


@settings(max_examples=200, deadline=None)
@given(commands=st.lists(st.sampled_from(_commands), max_size=14), start=st.sampled_from(list(IN.values())))
def test_any_sequence_keeps_the_machine_whole(commands: list[Command], start: Order) -> None:
    order = start
    for command in commands:
        try:
            facts = decide(order, command, 1000)
        except Refusal:
            continue
        changed = evolve(order, facts)  # never a ValueError
        assert changed.version == order.version + len(facts)
        if facts:
            assert _nothing_new(changed, command)
        if order.state in (S.CANCELLED, S.EXPIRED, S.FAILED, S.COMPLETED):
            assert changed.state is order.state
        assert (changed.session_id is None) or changed.started_at_ms is not None
        order = changed


def _nothing_new(order: Order, command: Command) -> bool:
    """Told again right away, a command has no second effect: no facts, or the rules say no."""
    try:
        return decide(order, command, 1000) == ()
    except Refusal:
        return True
