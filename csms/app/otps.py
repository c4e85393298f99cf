"""One-time passwords: asked for, shown once, worth nothing afterwards.

    ask ─▶ row (nonce) + OtpAsked ─▶ OtpSending ─▶ Messenger            check ─▶ verified, or a try less

The code is worked out of the row's nonce and a key that is not in the store, so it stands nowhere: neither in the
database nor in the journal or a log. It holds for some minutes, a few tries, and the number it was sent to.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from csms.app.kept import KeptRefusal
from csms.app.orders import find_order
from csms.domain.identity import Name, NameKind, name_hash, phone_norm
from csms.domain.order import Order
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Clock, Fact, Ids, Message, Messenger, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

DIGITS: Final = 6
MOST_TRIES: Final = 5
MOST_SENDS: Final = 5  # for one order
MOST_PER_PHONE: Final = 10  # within an hour, over all orders: nobody's telephone is a toy
_HOUR_MS: Final = 3_600_000
_NOT_AGAIN_MS: Final = 30_000  # the same request told twice sends one message
_SEND_TRIES: Final = 2


class Purpose(StrEnum):
    """What is proven by showing it."""

    START = "start"  # somebody stands at the charger
    FLEET = "fleet"  # the buyer is one of the fleet's drivers


@dataclass(frozen=True, slots=True, kw_only=True)
class OtpRules:
    """The operator's choices. `start` is off, all or fleet; a location may want it by itself (`start_otp`)."""

    key: bytes
    start: str = "off"
    life_ms: int = 600_000


class Otps:
    """Makes and checks them, within the transaction of who needs one."""

    def __init__(self, ids: Ids, rules: OtpRules) -> None:
        self._ids = ids
        self.rules = rules

    def ask(self, tx: Tx, order: Order, purpose: Purpose, now_ms: int) -> None:
        """Have one sent to the order's telephone number, unless one has just been. Refusal when there is no number,
        or too many were asked for."""
        phone = self.phone_of(order)
        row = tx.take(Table.OTPS, order_id=order.order_id, purpose=purpose.value)
        if row is not None and row["sent_to"] == phone:
            if row["state"] == "verified":
                return
            if row["state"] == "sent" and now_ms - row["made_ms"] < _NOT_AGAIN_MS:
                return
        sends = row["sends"] + 1 if row is not None else 1
        recent = tx.many(Table.OTPS, order="made_ms", after=now_ms - _HOUR_MS, limit=MOST_PER_PHONE, sent_to=phone)
        if sends > MOST_SENDS or sum(one["sends"] for one in recent) >= MOST_PER_PHONE:
            raise Refusal(
                Why.TOO_MANY_REQUESTS, "too many one-time passwords were asked for; try again in an hour, or order anew"
            )
        tx.save(
            Table.OTPS,
            {
                "order_id": order.order_id,
                "purpose": purpose.value,
                "nonce": self._ids.secret(),
                "sent_to": phone,
                "state": "sent",
                "tries": 0,
                "sends": sends,
                "made_ms": now_ms,
                "expires_ms": now_ms + self.rules.life_ms,
            },
        )
        tx.append([Fact("OtpAsked", now_ms, {"purpose": purpose.value}, order_id=order.order_id)])

    def is_verified(self, tx: ReadTx, order: Order, purpose: Purpose) -> bool:
        """Whether the right one was shown, for the telephone number the order has now."""
        row = tx.one(Table.OTPS, order_id=order.order_id, purpose=purpose.value)
        return row is not None and row["state"] == "verified" and row["sent_to"] == self._hash(order)

    def check(self, tx: Tx, order: Order, purpose: Purpose, said: str, now_ms: int) -> None:
        """Refusal when it is not the one that was sent; the try is counted all the same."""
        row = tx.take(Table.OTPS, order_id=order.order_id, purpose=purpose.value)
        why = Why.NOT_STARTABLE if purpose is Purpose.START else Why.INVALID_REQUEST
        if row is None or row["state"] not in {"sent", "verified"}:
            raise self._anew(order, purpose, why, "the one-time password holds no more", now_ms)
        if not hmac.compare_digest(self.code(row).encode(), said.strip().encode()):
            left = MOST_TRIES - row["tries"] - 1
            told = f"{left} tries are left" if left > 0 else "no try is left; ask again for a new one"
            raise KeptRefusal(
                why, f"the one-time password is wrong; {told}", lambda tx: _count_try(tx, order.order_id, purpose)
            )
        if row["state"] == "verified":
            return
        if now_ms > row["expires_ms"]:
            raise self._anew(order, purpose, why, "the one-time password is too old", now_ms)
        tx.change(Table.OTPS, {"state": "verified"}, order_id=order.order_id, purpose=purpose.value)

    def demand(self, tx: Tx, order: Order, said: str | None, now_ms: int) -> None:
        """Refusal until the one for the start was shown; one is on its way then."""
        if self.is_verified(tx, order, Purpose.START):
            return
        if said is not None:
            self.check(tx, order, Purpose.START, said, now_ms)
            return
        row = tx.one(Table.OTPS, order_id=order.order_id, purpose=Purpose.START.value)
        if row is not None and row["state"] == "sent" and now_ms <= row["expires_ms"]:
            where = _ending(order)
            raise Refusal(Why.NOT_STARTABLE, f"send the one-time password that went to {where} with the start")
        raise self._anew(order, Purpose.START, Why.NOT_STARTABLE, "a one-time password is needed to start", now_ms)

    def _anew(self, order: Order, purpose: Purpose, why: Why, what: str, now_ms: int) -> Refusal:
        def keep(tx: Tx) -> None:
            try:
                self.ask(tx, order, purpose, now_ms)
            except Refusal as refusal:
                log.info("otp.not_asked", order_id=order.order_id, why=refusal.detail)

        return KeptRefusal(why, f"{what}; a new one goes to {_ending(order)}", keep)

    def code(self, row: Row) -> str:
        """The digits. Every code is as likely as any other, to within one part in 10^60."""
        said = f"otp|{row['purpose']}|{row['nonce']}"
        digest = hmac.new(self.rules.key, said.encode(), hashlib.sha256).digest()
        return f"{int.from_bytes(digest, 'big') % 10**DIGITS:0{DIGITS}d}"

    def _hash(self, order: Order) -> str | None:
        phone = phone_norm(order.buyer.phone)
        return name_hash(self.rules.key, Name(NameKind.PHONE, phone)) if phone is not None else None

    def phone_of(self, order: Order) -> str:
        """The hashed number that passwords of this order go to. Refusal when the buyer gave none."""
        hashed = self._hash(order)
        if hashed is None:
            raise Refusal(
                Why.INVALID_REQUEST, "the buyer's telephone number is needed: a one-time password is sent to it"
            )
        return hashed

    def is_current(self, row: Row, order: Order) -> bool:
        """Whether the number the order has now is the one the password is for."""
        return bool(row["sent_to"] == self._hash(order))


class OtpSending:
    """Follower of the journal that hands the passwords over to whoever sends messages."""

    FOLLOWED: Final = frozenset({"OtpAsked"})

    def __init__(self, *, store: Store, otps: Otps, messenger: Messenger, clock: Clock, sender: str) -> None:
        self._store = store
        self._otps = otps
        self._messenger = messenger
        self._clock = clock
        self._sender = sender

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Send each while it holds. One that cannot be sent is given up: whoever waits for it asks again."""
        asked = {(str(fact.order_id), str(fact.body["purpose"])) for fact in facts}
        messages = await self._store.read(lambda tx: [self._message(tx, *which) for which in sorted(asked)])
        await asyncio.gather(*(self._send(message) for message in messages if message is not None))

    def _message(self, tx: ReadTx, order_id: str, purpose: str) -> Message | None:
        row = tx.one(Table.OTPS, order_id=order_id, purpose=purpose)
        order = find_order(tx, order_id)
        if row is None or order is None or order.buyer.phone is None:
            return None
        if row["state"] != "sent" or self._clock.now_ms() > row["expires_ms"] or not self._otps.is_current(row, order):
            return None
        what = "to start charging" if purpose == Purpose.START else "to charge at your fleet's price"
        code = self._otps.code(row)
        return Message(
            key=f"otp:{order_id}:{purpose}:{row['sends']}",
            to=order.buyer.phone,
            purpose=f"otp_{purpose}",
            text=f"{code} is your one-time password {what} with {self._sender}. Tell it to nobody.",
            code=code,
            expires_at=rfc3339(row["expires_ms"]),
        )

    async def _send(self, message: Message) -> None:
        for attempt in range(1, _SEND_TRIES + 1):
            try:
                await self._messenger.send(message)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a messenger may fail in any way; its words may hold the code
                log.warning("otp.not_sent", key=message.key, attempt=attempt, error=type(error).__name__)
            else:
                return


def _count_try(tx: Tx, order_id: str, purpose: Purpose) -> None:
    row = tx.take(Table.OTPS, order_id=order_id, purpose=purpose.value)
    if row is None or row["state"] != "sent":
        return
    tries = row["tries"] + 1
    state = "spent" if tries >= MOST_TRIES else "sent"
    tx.change(Table.OTPS, {"tries": tries, "state": state}, order_id=order_id, purpose=purpose.value)


def _ending(order: Order) -> str:
    """The number, so far that its owner knows it again and nobody else learns it."""
    phone = phone_norm(order.buyer.phone)
    return f"the number ending in {phone[-2:]}" if phone is not None else "the buyer"
