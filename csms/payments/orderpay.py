"""A gateway of the common Indian shape: orders, payments that fulfil them, captures, refunds, signed webhooks.

Every movement first asks how things stand and acts only when that is still needed, under an idempotency key. So a
call whose answer was lost, or that is made again after a crash, moves nothing twice. A hold is captured once, at most
for what is held; the gateway gives the rest back by itself, and one that is not captured at all is voided.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from csms.payments import orderpay_wire as wire
from csms.payments.signed import fits
from csms.ports import (
    Collection,
    GatewayAway,
    GatewayEvent,
    GatewayRefused,
    MoneyState,
    Moved,
    PaymentLink,
    PaymentRequest,
    Prepared,
    RefundNews,
    RemoteMoney,
    RemoteView,
    UnreadableEvent,
)

_SIGNATURE: Final = "X-Orderpay-Signature"
_EVENT_ID: Final = "x-orderpay-event-id"
_ANSWER_LIMIT: Final = 1024 * 1024
_INTENT_LIMIT: Final = 1000  # more does not fit a code that a phone reads from a screen
# Refused for now, not for ever: wrong keys are mended, a busy gateway calms down, a twin of this call ends.
_FOR_NOW: Final = frozenset({401, 403, 408, 409, 425, 429})
_PROGRESS: Final = {"paid": 0, "attempted": 1, "created": 2}  # of orders
# The attempt that counts, when there are several.
_RANK: Final = (
    MoneyState.CAPTURED,
    MoneyState.AUTHORIZED,
    MoneyState.VOIDED,
    MoneyState.WAITING,
    MoneyState.FAILED,
)


class OrderpayGateway:
    """`ports.Payments` over HTTP. `public_url` is where our page for drivers is; the secrets are never logged."""

    name = "orderpay"
    is_remote = True

    def __init__(
        self,
        *,
        base_url: str,
        key_id: str,
        key_secret: str,
        webhook_secret: str | None,
        public_url: str,
        timeout_s: float = 10.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._authorization = "Basic " + base64.b64encode(f"{key_id}:{key_secret}".encode()).decode()
        self._webhook_secret = webhook_secret
        self._public_url = public_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None

    def link(self, request: PaymentRequest) -> PaymentLink:
        """Our page. What it shows is made at the gateway a moment later, so the intent is empty here."""
        return PaymentLink(
            url=f"{self._public_url}/payments/{self.name}/{quote(request.payment_id, safe='')}",
            upi_intent="",
            txn_ref=request.payment_id,
        )

    # -- to be paid

    async def prepare(self, of: Collection) -> Prepared:
        """An order of theirs under our receipt, and an intent for it."""
        order = await self._order(of)
        if order is None:
            order = await self._post("/v1/orders", _new_order(of), key=f"order:{of.receipt}")
        remote_id = _read(wire.text, order, "id")
        if (_read(wire.paise, order, "amount"), order.get("currency")) != (of.amount_minor, of.currency):
            raise GatewayRefused(f"order {remote_id} there is {order.get('amount')} {order.get('currency')}")
        if order.get("status") == "paid":
            return Prepared(remote_id=remote_id, upi_intent="")
        asked = {
            "amount": of.amount_minor,
            "currency": of.currency,
            "order_id": remote_id,
            "method": "upi",
            "upi": {"flow": "intent", "expire_by": of.expires_ms // 1000},
            "description": of.note[:80],
            "notes": {"payment_id": of.payment_id},
        }
        intent = (await self._post("/v1/payments/create/upi", asked)).get("link")
        if not isinstance(intent, str) or not intent.startswith("upi://") or len(intent) > _INTENT_LIMIT:
            raise GatewayRefused("what the gateway gives as a UPI intent is none")
        return Prepared(remote_id=remote_id, upi_intent=intent)

    async def look(self, of: Collection) -> RemoteView | None:
        """Every payment of the order."""
        remote_id = of.remote_id
        if remote_id is None:
            order = await self._order(of)
            if order is None:
                return None
            remote_id = _read(wire.text, order, "id")
        try:
            listed = await self._get(f"/v1/orders/{quote(remote_id, safe='')}/payments")
        except _NotThere:
            return None
        attempts = sorted((_read(wire.payment, one) for one in _read(wire.items, listed)), key=_rank)
        return RemoteView(remote_id=remote_id, attempts=tuple(attempts))

    async def _order(self, of: Collection) -> Mapping[str, Any] | None:
        """By its id, else by our receipt: a lost answer leaves an order there whose id we do not know."""
        if of.remote_id is not None:
            return await self._get(f"/v1/orders/{quote(of.remote_id, safe='')}")
        found = _read(wire.items, await self._get(f"/v1/orders?receipt={quote(of.receipt, safe='')}"))
        found = [one for one in found if one.get("receipt") == of.receipt]
        return min(found, key=lambda one: _PROGRESS.get(str(one.get("status")), len(_PROGRESS)), default=None)

    # -- movements

    async def capture(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Once per hold; what is beyond `amount_minor` the gateway gives back by itself."""
        money = await self._money(of, amount_minor)
        if money.state is MoneyState.AUTHORIZED:
            if amount_minor > money.amount_minor:
                raise GatewayRefused(f"{money.amount_minor} paise are held, {amount_minor} cannot be taken")
            body = {"amount": amount_minor, "currency": of.currency}
            said = await self._post(f"{_path(money)}/capture", body, key=key)
            money = _read(wire.payment, said)
        if money.state is not MoneyState.CAPTURED:
            raise GatewayRefused(f"the hold is {money.state} at the gateway; nothing can be taken of it")
        if money.captured_minor < amount_minor:
            raise GatewayRefused(f"{money.captured_minor} paise were taken before, {amount_minor} are due")
        return Moved(ref=money.remote_payment_id)

    async def release(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """With the capture, by a void when nothing is captured, or by a refund when all was."""
        money = await self._money(of, amount_minor)
        done = Moved(ref=money.remote_payment_id)
        if money.state is MoneyState.AUTHORIZED:
            if of.taken_minor or of.released_minor < money.amount_minor:
                return Moved(ref=money.remote_payment_id, is_done=False)  # goes with the capture to come
            await self._post(f"{_path(money)}/void", {}, key=key)
            return done
        if money.state is MoneyState.CAPTURED and money.captured_minor > of.taken_minor:
            return await self.refund(of, amount_minor, key)
        return done

    async def refund(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Known by its receipt there; asked for only while what was captured still covers it."""
        money = await self._money(of, amount_minor)
        listed = await self._get(f"{_path(money)}/refunds?count=100")
        known = [_read(wire.refund, one) for one in _read(wire.items, listed)]
        for one in known:
            if one.key == key:
                return _refunded(one)
        gone_minor = sum(one.amount_minor for one in known if one.state != "failed")
        if money.state is not MoneyState.CAPTURED or amount_minor > money.captured_minor - gone_minor:
            raise GatewayRefused(
                f"{amount_minor} paise cannot go back: {money.captured_minor} were captured, {gone_minor} went back"
            )
        body = {"amount": amount_minor, "speed": "normal", "receipt": _short(key), "notes": {"key": key}}
        return _refunded(_read(wire.refund, await self._post(f"{_path(money)}/refund", body, key=key)))

    async def _money(self, of: Collection, amount_minor: int) -> RemoteMoney:
        """The payment that counts, as it is now."""
        if amount_minor <= 0:
            raise GatewayRefused(f"{amount_minor} paise: only positive amounts move")
        view = await self.look(of)
        attempts = view.attempts if view is not None else ()
        for money in attempts:
            if of.remote_payment_id in (None, money.remote_payment_id):
                return money
        raise GatewayRefused(f"the gateway knows no payment {of.remote_payment_id or ''} of {of.payment_id}")

    # -- webhooks

    def is_genuine(self, headers: Mapping[str, str], body: bytes) -> bool | None:
        """Hexadecimal HMAC-SHA256 of the body as it came."""
        if self._webhook_secret is None:
            return None
        return fits(self._webhook_secret, body, _header(headers, _SIGNATURE))

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Named by its header; the body is its name where there is none."""
        event_id = _header(headers, _EVENT_ID)[:200] or hashlib.sha256(body).hexdigest()
        try:
            return wire.event(event_id, body)
        except ValueError as error:
            raise UnreadableEvent(str(error)[:200]) from error

    # -- the wire

    async def close(self) -> None:
        """Let go of connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _get(self, path: str) -> Mapping[str, Any]:
        """A question changes nothing: it is asked a second time at once."""
        try:
            return await self._call("GET", path, None, None)
        except GatewayAway:
            return await self._call("GET", path, None, None)

    async def _post(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Mapping[str, Any]:
        return await self._call("POST", path, body, key)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None, key: str | None) -> Mapping[str, Any]:
        if self._http is None:
            # The environment's proxies and .netrc are not ours to send secrets through.
            self._http = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        headers = {"Content-Type": "application/json", "Authorization": self._authorization}
        if key is not None:
            headers["X-Idempotency-Key"] = _short(key)
        data = json.dumps(body).encode() if body is not None else None
        try:
            async with self._http.request(
                method, f"{self._base_url}{path}", data=data, headers=headers, allow_redirects=False
            ) as answer:
                raw = await _all_of(answer)
                return _said(answer.status, raw, f"{method} {path.partition('?')[0]}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise GatewayAway(f"{method} {path.partition('?')[0]}: {type(error).__name__} {error}") from error


class _NotThere(GatewayRefused):
    """404."""


async def _all_of(answer: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in answer.content.iter_chunked(65_536):
        size += len(chunk)
        if size > _ANSWER_LIMIT:
            raise GatewayAway(f"an answer of more than {_ANSWER_LIMIT} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _said(status: int, raw: bytes, what: str) -> Mapping[str, Any]:
    """The object that was answered. Raises GatewayRefused, GatewayAway."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    if 200 <= status < 300:
        if not isinstance(said, dict):
            raise GatewayAway(f"{what}: HTTP {status} without an object")
        return said
    why = str(wire.entity(wire.entity(said).get("error")).get("description") or "no reason given")[:200]
    if 400 <= status < 500 and status not in _FOR_NOW:
        raise (_NotThere if status == 404 else GatewayRefused)(f"{what}: HTTP {status}, {why}")
    raise GatewayAway(f"{what}: HTTP {status}, {why}")


def _read(reading: Any, *said: Any) -> Any:
    """What cannot be understood is taken for trouble of the gateway: nothing is concluded from it."""
    try:
        return reading(*said)
    except ValueError as error:
        raise GatewayAway(f"an answer that cannot be understood: {error}") from error


def _new_order(of: Collection) -> dict[str, Any]:
    return {
        "amount": of.amount_minor,
        "currency": of.currency,
        "receipt": of.receipt,
        "payment": {"capture": "manual" if of.hold else "automatic"},
        "notes": {"payment_id": of.payment_id},
    }


def _refunded(one: RefundNews) -> Moved:
    if one.state == "failed":
        raise GatewayRefused(f"refund {one.ref} of {one.amount_minor} paise failed at the gateway")
    return Moved(ref=one.ref, is_done=one.state == "done")


def _path(money: RemoteMoney) -> str:
    return f"/v1/payments/{quote(money.remote_payment_id, safe='')}"


def _rank(money: RemoteMoney) -> int:
    return _RANK.index(money.state)


def _short(key: str) -> str:
    """A key in at most 40 characters."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def _header(headers: Mapping[str, str], name: str) -> str:
    wanted = name.lower()
    return next((value for given, value in headers.items() if given.lower() == wanted), "")
