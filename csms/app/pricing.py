"""What a wish costs whom: the tariff of the place or of the buyer's fleet, the chosen offer, the loyalty discount."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from csms.app.catalogue import Inventory, Offering
from csms.app.fleets import Fleet
from csms.app.otps import Otps, Purpose
from csms.app.selling import Selling, Wish
from csms.domain.breakdown import Role
from csms.domain.buyer import Buyer
from csms.domain.dated_price import within
from csms.domain.ledger import EntryKind
from csms.domain.order import Order
from csms.domain.quote import Quote, quote
from csms.domain.refusal import Refusal, Why
from csms.domain.statement import month, month_of
from csms.domain.tariff import Terms
from csms.domain.units import from_minor, to_minor
from csms.ports import ReadTx, Table

_ROWS: Final = 500
_PRICED_AHEAD_MS: Final = 48 * 3_600_000  # an order keeps the announced prices of two days from its start


class Pricing:
    """Prices wishes. Fleets' prices hold for who belongs to one, and are nowhere else to be seen."""

    def __init__(self, inventory: Inventory, selling: Selling, otps: Otps) -> None:
        self._inventory = inventory
        self._selling = selling
        self._otps = otps

    def member(self, tx: ReadTx, order: Order | None, buyer: Buyer, bap_id: str) -> Fleet | None:
        """The fleet or programme whose price holds: of several the first that needs no proof or has it."""
        for fleet in self._inventory.fleets.of_buyer(buyer, bap_id):
            if not fleet.needs_otp or (order is not None and self._otps.is_verified(tx, order, Purpose.FLEET)):
                return fleet
        return None

    def unproven(self, order: Order) -> Fleet | None:
        """The fleet the buyer may yet prove to belong to, by a password to a number that is the fleet's (or, of an app
        that is, to the driver's own)."""
        for fleet in self._inventory.fleets.of_buyer(order.buyer, order.bap_id):
            if fleet.fleet_id == order.fleet_id:
                return None
            if fleet.needs_otp and fleet.can_prove(order.buyer, order.bap_id):
                return fleet
        return None

    def price(
        self,
        offering: Offering,
        wish: Wish,
        fleet: Fleet | None,
        now_ms: int,
        *,
        start_ms: int,
        kept: Terms | None = None,
    ) -> tuple[Quote, Terms]:
        """The price of a wish from `start_ms` on. `kept`: terms whose offer was chosen while it held, and holds on."""
        tariff, policy = offering.tariff, offering.policy
        own = self._inventory.tariff(fleet.tariff_id) if fleet is not None and fleet.tariff_id is not None else None
        if own is not None:
            tariff, policy = own, self._inventory.policy(own.tariff_id)
        if tariff is None:
            raise Refusal(Why.NO_TARIFF, f"{offering.item_id} has no tariff; it cannot be sold yet")
        if tariff.currency != self._selling.currency:
            raise Refusal(Why.NO_TARIFF, f"{offering.item_id} is priced in {tariff.currency}")
        discount = None
        if own is None and kept is not None and kept.discount is not None and kept.discount.offer_id == wish.offer_id:
            discount = kept.discount
        elif own is None and wish.offer_id is not None:  # offers are made on the prices everybody pays
            discount = self._inventory.discount(wish.offer_id, offering, now_ms)
        selling = self._selling
        terms = Terms(
            tariff=replace(tariff, dated=within(tariff.dated, start_ms, start_ms + _PRICED_AHEAD_MS)),
            discount=discount,
            finder_fee=wish.finder_fee,
            pattern=policy.pattern or selling.pattern,
            absorb_cap_minor=selling.absorb_cap_minor if policy.absorb_cap_minor is None else policy.absorb_cap_minor,
            cancellation=policy.cancellation or selling.cancellation,
            loyalty=(
                self._inventory.member_discount(fleet.fleet_id, offering.item_id, now_ms) if fleet is not None else None
            ),
        )
        priced = quote(
            terms,
            wish.want,
            start_ms=start_ms,
            max_power_w=offering.max_power_w,
            default_energy_wh=selling.default_energy_wh,
        )
        return priced, terms

    def may_pay_later(self, order: Order) -> bool:
        """Whether the buyer may pay when it is over: as the tariff says, else as the operator has it for all."""
        of_tariff = self._inventory.policy(order.terms.tariff.tariff_id).postpaid
        return self._selling.postpaid if of_tariff is None else of_tariff

    def on_account(self, tx: ReadTx, order: Order, now_ms: int) -> bool:
        """Whether its fleet pays by the month. Refusal(NOT_PAID) when the fleet has used up what it may owe."""
        fleet = self._inventory.fleets.by_id.get(order.fleet_id or "")
        if fleet is None or not fleet.is_fleet or not fleet.postpaid:
            return False
        if fleet.monthly_limit_minor is not None:
            owed = _this_month(tx, fleet.fleet_id, order.terms.tariff.zone, now_ms)
            if owed + to_minor(order.quote.without(Role.BUFFER, Role.ROUNDING).total) > fleet.monthly_limit_minor:
                limit = from_minor(fleet.monthly_limit_minor)
                raise Refusal(
                    Why.NOT_PAID,
                    f"the fleet's monthly limit of {limit} {order.quote.currency} would be passed; this order has to "
                    "be paid at once",
                )
        return True


def _this_month(tx: ReadTx, fleet_id: str, zone: str, now_ms: int) -> int:
    """Paise on a fleet's account from the orders made this month, paid or not."""
    begin_ms, _ = month(month_of(now_ms, zone), zone)
    rows = tx.many(Table.ORDERS, order="created_ms", after=begin_ms - 1, fleet_id=fleet_id)
    ids = [row["id"] for row in rows]
    return sum(
        tx.total(Table.LEDGER, "amount_minor", kind=EntryKind.ON_ACCOUNT.value, order_id=ids[start : start + _ROWS])
        for start in range(0, len(ids), _ROWS)
    )
