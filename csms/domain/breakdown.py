"""A price taken apart into its lines, whose sum is the price.

Every line is rounded once, half up, to two places; the total is the exact sum of the rounded lines (BECKN 4.5)
and discounts are negative. `kind` is the network's closed vocabulary of component types (BECKN 4.1); `role`
is ours and tells lines apart, so nobody reads a description to find the tax.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from csms.domain.units import CENT, ZERO, round_money


class ComponentKind(StrEnum):
    """What a network calls a price line."""

    UNIT = "UNIT"
    TAX = "TAX"
    DELIVERY = "DELIVERY"
    DISCOUNT = "DISCOUNT"
    FEE = "FEE"
    SURCHARGE = "SURCHARGE"


class Role(StrEnum):
    """What a price line is to us."""

    ENERGY = "energy"
    TIME = "time"
    SURGE = "surge"
    LOCATION_SURCHARGE = "location-surcharge"
    DISCOUNT = "discount"
    SERVICE = "service"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    IDLE = "idle"
    TAX = "tax"
    FINDER = "finder"
    BUFFER = "buffer"
    ROUNDING = "rounding"
    CANCELLATION = "cancellation"
    WAIVED = "waived"  # what the operator bears of the bill


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One line, rupees with exactly two places."""

    kind: ComponentKind
    role: Role
    amount: Decimal
    description: str

    def __post_init__(self) -> None:
        if self.amount != round_money(self.amount):
            raise ValueError(f"a price line has two places, not {self.amount}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The lines of one price, in the order they are shown.

    `included_tax` is the tax inside the lines when prices are tax-inclusive; it is no line and is not added.
    """

    currency: str
    components: tuple[Component, ...]
    included_tax: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.components), ZERO).quantize(CENT)

    @property
    def total_minor(self) -> int:
        """The total in paise, exact."""
        return int(self.total * 100)

    @property
    def tax(self) -> Decimal:
        """All tax in the price, whether added as a line or included in the lines."""
        return (self.amount(Role.TAX) + self.included_tax).quantize(CENT)

    @property
    def total_before_tax(self) -> Decimal:
        return self.total - self.tax

    def amount(self, *roles: Role) -> Decimal:
        """The sum of the lines with one of `roles`; 0.00 when there is none."""
        return sum((line.amount for line in self.components if line.role in roles), ZERO).quantize(CENT)

    def has(self, role: Role) -> bool:
        return any(line.role is role for line in self.components)

    def without(self, *roles: Role) -> Breakdown:
        """The same price with the lines of `roles` left out. Tax is not worked out again."""
        return replace(self, components=tuple(c for c in self.components if c.role not in roles))
