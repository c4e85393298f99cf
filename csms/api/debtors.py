"""Debts: what drivers owe for energy beyond their orders, under which names they are known, and giving it up."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from csms.api.models import Body, Money, Text, Time, View, sure_money
from csms.api.routes import Call, Routes
from csms.app.debtors import forgive
from csms.app.dues import Due
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, Tx

route: Final = Routes("Debtors")


class NameView(View):
    """One name of a debtor. Names are kept as keyed digests: `id` tells two of them apart and nothing more."""

    id: str
    kind: Literal["phone", "email", "buyer", "vpa", "vehicle", "token"] | None


class Debtor(View):
    """One unpaid amount. Whoever goes by any of the names begins nothing while debts block (`access.block_on_due`)."""

    order_id: str
    amount: Money
    since: Time
    pay_url: str | None = Field(description="where the driver can pay it; null where the buyer's app collects")
    names: list[NameView]


class Debtors(View):
    """Every debt."""

    items: list[Debtor]
    total: Money


class ForgiveIn(Body):
    """Why a debt is given up."""

    reason: Text


class Forgiven(View):
    """What was given up."""

    order_id: str
    amount: Money


class ApartIn(Body):
    """`apart`: the name joins nobody any more and identifies nobody; false takes that back."""

    apart: bool = True
    reason: Text


@route("GET", "/api/v1/debtors", answer=Debtors, summary="Who owes what, oldest first")
async def list_debtors(call: Call[None, None]) -> Debtors:
    """Every unpaid amount."""
    dues = call.system.dues.all()
    names = {name for due in dues for name in due.drivers}
    kinds = await call.system.store.read(lambda tx: call.system.identities.kinds(tx, names)) if names else {}
    total = sum(due.amount_minor for due in dues)
    return Debtors(items=[_view(due, kinds) for due in dues], total=sure_money(total))


@route(
    "POST",
    "/api/v1/debtors/{order_id}/forgive",
    body=ForgiveIn,
    answer=Forgiven,
    errors=[404, 409],
    summary="Give a debt up",
)
async def forgive_debt(call: Call[None, ForgiveIn]) -> Forgiven:
    """Write off what is due for an order. Its bill stays what it was, and the driver may begin again."""
    order_id, reason, who, now_ms = call.path["order_id"], call.body.reason, call.who.name, call.now_ms()
    amount_minor = await call.system.store.transact(
        lambda tx: forgive(tx, order_id, reason=reason, who=who, now_ms=now_ms)
    )
    return Forgiven(order_id=order_id, amount=sure_money(amount_minor))


@route(
    "POST",
    "/api/v1/debtors/{order_id}/names/{name}",
    body=ApartIn,
    answer=Debtor,
    errors=[404],
    summary="Set a name apart",
)
async def set_name_apart(call: Call[None, ApartIn]) -> Debtor:
    """Say that a name stands for more than one person (a shared payment address, a workshop's car): it joins nobody.

    The names left may be fewer a moment later: the answer shows the debt as it stood."""
    order_id, name, said = call.path["order_id"], call.path["name"], call.body
    due = next((due for due in call.system.dues.all() if due.order_id == order_id), None)
    if due is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"Nothing is due for order {order_id!r}.")

    def work(tx: Tx) -> dict[str, str]:
        call.system.identities.set_apart(tx, name, is_apart=said.apart)
        told = {"name": name, "apart": said.apart, "reason": said.reason, "who": call.who.name}
        tx.append([Fact("NameSetApart", call.now_ms(), told, order_id=order_id)])
        return call.system.identities.kinds(tx, due.drivers)

    return _view(due, await call.system.store.transact(work))


def _view(due: Due, kinds: dict[str, str]) -> Debtor:
    return Debtor(
        order_id=due.order_id,
        amount=sure_money(due.amount_minor, due.currency),
        since=rfc3339(due.since_ms),
        pay_url=due.url,
        names=[NameView.model_validate({"id": name, "kind": kinds.get(name)}) for name in sorted(due.drivers)],
    )
