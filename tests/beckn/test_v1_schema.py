"""Everything emitted in generation 1, in every profile, passes core 1.1.1 and the closed rules, formats included."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from beckn_world import ITEM, NOW, OFFER, TERMS, payment
from hypothesis import given, settings
from hypothesis import strategies as st
from schema import needs_schemas, validate_v1
from v1_world import FEE, FULL, PROFILES, REFUND, UUID, bodies, codec, orders, reply, v1_billed, v1_order

from beckn_adapter.envelope import serialise
from beckn_adapter.speaking import Progress, Shown
from beckn_adapter.v1.profiles import Profile
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.order import Order, PaymentStatus, State, Want, WantKind

pytestmark = needs_schemas

EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.network)


@EVERY_PROFILE
def test_every_message_passes_the_published_schemas(profile: Profile) -> None:
    for body in bodies(profile):
        assert validate_v1(body) == [], serialise(body)


def test_the_closed_rules_are_really_asked() -> None:
    body: Any = codec().on_status(reply("status"), v1_order(), Shown(item=ITEM))
    assert validate_v1(body) == []
    body["message"]["order"]["items"][0]["colour"] = "green"
    assert [problem[:4] for problem in validate_v1(body)] == ["uei:"]
    body["message"]["order"]["status"] = "PENDING"
    assert any(problem.startswith("core:") for problem in validate_v1(body))


def amounts() -> st.SearchStrategy[Breakdown]:
    line = st.builds(
        Component,
        kind=st.sampled_from(ComponentKind),
        role=st.sampled_from(Role),
        amount=st.decimals(-5000, 5000, places=2, allow_nan=False).map(lambda d: d.quantize(Decimal("0.01"))),
        description=st.text(max_size=40),
    )
    return st.builds(Breakdown, currency=st.just("INR"), components=st.lists(line, max_size=6).map(tuple))


def any_order() -> st.SearchStrategy[Order]:
    wants = st.one_of(
        st.builds(Want, kind=st.just(WantKind.ENERGY), energy_wh=st.integers(1, 10**7)),
        st.builds(Want, kind=st.just(WantKind.AMOUNT), amount_minor=st.integers(1, 10**8)),
        st.builds(Want, kind=st.just(WantKind.TIME), minutes=st.integers(1, 10_000)),
        st.just(Want(kind=WantKind.OPEN)),
    )
    whole = st.one_of(st.none(), st.integers(0, 10**7))
    return st.builds(
        v1_order,
        state=st.sampled_from(State),
        want=wants,
        quote=amounts(),
        final=st.one_of(st.none(), amounts()),
        estimate=st.one_of(st.none(), amounts()),
        payment=st.one_of(st.none(), st.sampled_from(PaymentStatus).map(payment)),
        refunds=st.sampled_from([(), (REFUND,)]),
        cancellation_fee=st.sampled_from([None, FEE]),
        delivered_wh=whole,
        cancel_reason=st.one_of(st.none(), st.text(max_size=20)),
        offer_id=st.one_of(st.none(), st.just(OFFER.offer_id)),
        terms=st.just(TERMS),
    )


@settings(max_examples=120, deadline=None)
@given(any_order(), st.sampled_from(PROFILES), st.sampled_from([None, FULL, Progress(session_status="INTERRUPTED")]))
def test_an_order_in_any_condition_can_be_told(order: Order, profile: Profile, progress: Progress | None) -> None:
    speaking, shown = codec(profile), Shown(item=ITEM, offer=OFFER, progress=progress)
    for body in (
        speaking.on_select(reply("select", profile), order, shown),
        speaking.on_init(reply("init", profile), order, shown),
        speaking.on_confirm(reply("confirm", profile), order, shown),
        speaking.on_status(speaking.news(order, "on_status", UUID, NOW), order, shown),
        speaking.on_cancel(reply("cancel", profile), order, shown),
    ):
        assert validate_v1(body) == []
        message: Any = body["message"]
        assert adds_up(message["order"]["quote"]), message["order"]["quote"]


@EVERY_PROFILE
def test_every_quotation_is_the_sum_of_its_lines(profile: Profile) -> None:
    told = [*orders(), v1_billed(1), v1_billed(50_000)]
    for order in told:
        body: Any = codec(profile).on_status(reply("status", profile), order, Shown(item=ITEM))
        assert adds_up(body["message"]["order"]["quote"])


def adds_up(quote: dict[str, Any]) -> bool:
    lines = sum((Decimal(line["price"]["value"]) for line in quote["breakup"]), Decimal(0))
    return lines == Decimal(quote["price"]["value"])
