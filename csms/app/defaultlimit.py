"""What a card or a car may draw that has no limit of its own: the operator's default, in energy or money (BECKN 6.5).

Money is turned into energy by the price at the socket when the session begins, fees and tax included, as for an order
by amount. Drivers of fleets, whose bills go to the fleet, are not held to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from csms.app.catalogue import Inventory
from csms.domain.access import Token, TokenKind
from csms.domain.quote import Want, WantKind, quote
from csms.domain.refusal import Refusal
from csms.domain.session_record import Session

log = structlog.get_logger()

_RATED_W: Final = 7_400  # only spreads the energy over the hours of a tariff by time of day


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultLimit:
    """Each None is no limit; of two the smaller counts."""

    energy_wh: int | None = None
    amount_minor: int | None = None

    def wh(self, inventory: Inventory, session: Session, token: Token, now_ms: int) -> int | None:
        """What `token` may draw in `session`, which nobody ordered."""
        if token.kind in {TokenKind.ORDER, TokenKind.FLEET} or inventory.fleets.of_token(token.uid) is not None:
            return None
        limits = [self.energy_wh, self._bought(inventory, session, token, now_ms)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _bought(self, inventory: Inventory, session: Session, token: Token, now_ms: int) -> int | None:
        if self.amount_minor is None:
            return None
        at_ms = session.started_at_ms or now_ms
        terms = inventory.terms_of(session.station, session.evse, session.connector, token.uid, at_ms)
        if terms is None:
            return None  # nothing is billed where there is no price
        offering = inventory.at(session.station, session.evse, session.connector)
        want = Want(kind=WantKind.AMOUNT, amount_minor=self.amount_minor)
        rated_w = offering.max_power_w if offering is not None else _RATED_W
        try:
            return quote(terms, want, start_ms=at_ms, max_power_w=rated_w).energy_wh
        except Refusal as refusal:
            log.warning("default_limit.buys_nothing", station=session.station, why=refusal.detail)
            return None
