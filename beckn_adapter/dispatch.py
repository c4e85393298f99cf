"""Working through the inbox: one conversation at a time per transaction, different conversations side by side.

Each message is one transaction: the order moves, the answer is written into the outbox, the inbox row is done, all or
nothing. What the rules refuse rolls back and is answered as an error callback instead. Start and stop are answered when
the charger has really started or stopped (`notices`), not here.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from beckn_adapter import commands as cmd
from beckn_adapter import envelope
from beckn_adapter.alternatives import Alternatives
from beckn_adapter.catalog import ItemView
from beckn_adapter.codec import Codec
from beckn_adapter.codecs import Codecs
from beckn_adapter.envelope import Context
from beckn_adapter.errors import INTERNAL, BecknError, error_of
from beckn_adapter.market import Market
from beckn_adapter.outgoing import answer_uri_of, write
from beckn_adapter.progress import Socket, asks_otp, cut_off, progress_of
from beckn_adapter.publishing import record_results
from beckn_adapter.searching import Searching, speaks_of_every_plug
from beckn_adapter.speaking import Aggregate, Contact, Json, Shown
from beckn_adapter.tracking import watch
from csms.app import tickets
from csms.app.kept import KeptRefusal
from csms.app.ordering import Ordering, find_for
from csms.app.orders import touch_wire
from csms.app.ratings import Opinion, average, keep, names_of
from csms.app.scanning import FairUse
from csms.app.selling import Asker, Claim, Wish
from csms.app.tokens import Tokens
from csms.domain.order import CancelledBy, CollectedBy, Order, State
from csms.domain.refusal import Refusal, Why
from csms.ports import Bell, Clock, Ids, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

_IDLE_S = 2.0
_ATTEMPTS = 3
_PAGE = 64  # messages of the inbox looked at together
# An answer nobody waits for any more is dropped; what changed something is told all the same (BECKN 1.5).
_TOLD_WHEN_LATE = frozenset({"confirm", "update", "cancel"})
_DROPPED_WHEN_LATE = frozenset({"discover", "search", "select", "init"})
_LATE_GRACE_MS = 30_000
_RUNNING = frozenset({State.ACTIVE, State.STOPPING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Everything about how we answer."""

    codecs: Codecs
    contact: Contact
    public_url: str
    caller_url: str | None
    lenient: bool
    has_feedback_form: bool = False


class Dispatch:
    """The worker of the inbox."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        ids: Ids,
        ordering: Ordering,
        tokens: Tokens,
        market: Market,
        searching: Searching,
        fair_use: FairUse,
        socket: Socket,
        voice: Voice,
        spawn: Callable[[Any], Any],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._ids = ids
        self._ordering = ordering
        self._tokens = tokens
        self._market = market
        self._searching = searching
        self._fair_use = fair_use
        self._alternatives = Alternatives(market, ordering)
        self._socket = socket
        self._voice = voice
        self._spawn = spawn
        self._ready = ready
        self._busy: set[str] = set()

    def check(self, context: Context, body: Mapping[str, Any]) -> str | None:
        """Whether the message can be meant at all; Refusal when not (asked before the ACK). The order id it names."""
        command = self._codec(context).decode(context, body, self._clock.now_ms())
        order_id: str | None = getattr(command, "order_id", None)
        return order_id

    async def run(self) -> None:
        """For ever."""
        while True:
            heads = await self._heads()
            for conversation, row in heads.items():
                self._busy.add(conversation)
                self._spawn(self._work_on(conversation, row))
            if not heads:
                await self._bell.wait("inbox", _IDLE_S)

    async def _heads(self) -> dict[str, Row]:
        """The first message of every conversation that nobody works on, from the oldest page in which there is one.

        Bodies may be large, so few are held at once; and one conversation, however long, hides no other.
        """
        heads: dict[str, Row] = {}
        passed: set[str] = set()  # seen on this way: what comes after in them waits, though they end meanwhile
        after = 0
        while True:
            rows = await self._store.read(partial(_page, after=after))
            for row in rows:
                conversation = f"{row['bap_id']}|{row['transaction_id']}"
                if conversation not in passed and conversation not in self._busy:
                    heads[conversation] = row
                passed.add(conversation)
            if heads or len(rows) < _PAGE:
                return heads
            after = rows[-1]["no"]

    async def _work_on(self, conversation: str, row: Row) -> None:
        try:
            await self._answer(row)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("dispatch.failed", action=row["action"], inbox_no=row["no"])
            await self._failed(row, repr(error))
        finally:
            self._busy.discard(conversation)
            self._bell.ring("inbox")

    async def _failed(self, row: Row, error: str) -> None:
        """Our bug: tried a few times, then told as an internal error so that the buyer is not left waiting."""
        attempts = int(row["attempts"]) + 1
        values: dict[str, Any] = {"attempts": attempts, "error": error}
        if attempts >= _ATTEMPTS:
            values["state"] = "failed"
            try:
                parsed = json.loads(row["body"])
                context = envelope.parse_context(parsed)
                problem = BecknError(INTERNAL, "this is our fault; ask again")
                codec = self._codec(context)
                command = codec.decode(context, parsed, row["received_ms"])
                body = codec.error_for_command(self._reply(context), problem, command)
                await self._store.transact(lambda tx: self._finish(tx, row, body, None, values))
            except Exception:
                # Even the apology cannot be made: the message must not be tried for ever.
                log.exception("dispatch.not_answered", action=row["action"], inbox_no=row["no"])
                await self._store.transact(lambda tx: tx.change(Table.INBOX, values, no=row["no"]))
            self._bell.ring("outbox")
            return
        await asyncio.sleep(0.2 * attempts)
        await self._store.transact(lambda tx: tx.change(Table.INBOX, values, no=row["no"]))

    # -- one message

    async def _answer(self, row: Row) -> None:
        parsed = json.loads(row["body"])
        context = envelope.parse_context(parsed)
        command = self._codec(context).decode(context, parsed, row["received_ms"])
        now_ms = self._clock.now_ms()
        if context.action in _DROPPED_WHEN_LATE and now_ms - row["received_ms"] > context.ttl_ms + _LATE_GRACE_MS:
            await self._store.transact(
                lambda tx: tx.change(Table.INBOX, {"state": "done", "error": "too late to answer"}, no=row["no"])
            )
            return
        if context.action in _TOLD_WHEN_LATE and now_ms - row["received_ms"] > context.ttl_ms:
            context = replace(context, message_id=self._ids.uuid4())  # nobody waits for it: it is news by now
        if isinstance(command, cmd.Discover | cmd.Select | cmd.Init):
            await self._ready()  # what an operator has just put is what a buyer is sold
        found: Json = {}
        try:
            if isinstance(command, cmd.Discover):
                found = await self._searching.answer(
                    self._codec(context), self._reply(context), context.bap_id, command, now_ms
                )
            after = await self._store.transact(lambda tx: self._do(tx, row, context, command, found))
        except Refusal as refusal:
            log.info("dispatch.refused", action=context.action, why=refusal.why.value, detail=refusal.detail)
            said = refusal
            await self._store.transact(lambda tx: self._refuse(tx, row, context, command, said))
            self._bell.ring("outbox")
            return
        if isinstance(command, cmd.Select):
            self._fair_use.selected(context.bap_id, now_ms)
        for token in after:
            await self._tokens.changed(token)
        for topic in ("instructions", "outbox", "payments"):
            self._bell.ring(topic)

    def _refuse(self, tx: Tx, row: Row, context: Context, command: cmd.Command, refusal: Refusal) -> None:
        if isinstance(refusal, KeptRefusal):
            refusal.keep(tx)
        error = error_of(refusal, context.action)
        reply = self._reply(context)
        order: Order | None = None
        order_id = getattr(command, "order_id", None)
        if refusal.why is not Why.UNKNOWN_ORDER and not isinstance(command, cmd.Select | cmd.Init | cmd.Discover):
            try:
                order = find_for(tx, self._asker(context), order_id, lenient=self._voice.lenient)
            except Refusal:
                order = None
        error = self._alternatives.beside(
            tx,
            error,
            refusal,
            command,
            order,
            self._clock.now_ms(),
            every_plug=speaks_of_every_plug(self._codec(context)),
        )
        if order is not None:
            body = self._codec(context).error_for_order(reply, error, order, Shown(item=self._item(order)))
        else:
            body = self._codec(context).error_for_command(reply, error, command)
        self._finish(tx, row, body, order, {"state": "done", "error": f"{error.code}: {error.message}"})

    def _do(self, tx: Tx, row: Row, context: Context, command: cmd.Command, found: Json) -> list[str]:
        """Carry out and answer; the tokens that changed. Runs inside the transaction. `found`: what a search found."""
        standing = tx.take(Table.INBOX, no=row["no"])
        if standing is None or standing["state"] != "new":
            return []  # the list this row came from was older than the work that has just ended
        now_ms = self._clock.now_ms()
        asker = self._asker(context)
        reply, codec = self._reply(context), self._codec(context)
        done: dict[str, Any] = {"state": "done"}
        match command:
            case cmd.Discover():
                self._finish(tx, row, found, None, done)
            case cmd.CatalogPublished():
                record_results(tx, context.message_id, command, now_ms)
                tx.change(Table.INBOX, done, no=row["no"])
            case cmd.Select():
                order = self._ordering.select(tx, asker, _wish(command), now_ms)
                body = codec.on_select(reply, order, self._quoted(tx, order, now_ms))
                self._finish(tx, row, body, order, done)
            case cmd.Init():
                order = self._ordering.initialise(
                    tx,
                    asker,
                    _wish(command),
                    now_ms,
                    order_id=command.order_id,
                    collected_by=CollectedBy(command.collected_by),
                    claim=_claim(command.payment),
                )
                body = codec.on_init(reply, order, self._quoted(tx, order, now_ms))
                self._finish(tx, row, body, order, done)
            case cmd.Confirm():
                order = find_for(tx, asker, command.order_id, lenient=self._voice.lenient)
                order = self._ordering.confirm(
                    tx, order, _claim(command.payment), now_ms, command.wire, otp=command.otp
                )
                body = codec.on_confirm(reply, order, self._shown(tx, order))
                self._finish(tx, row, body, order, done)
                return [order.token] if order.token is not None else []
            case cmd.Status():
                order = find_for(tx, asker, command.order_id, lenient=self._voice.lenient)
                body = codec.on_status(reply, order, self._shown(tx, order))
                self._finish(tx, row, body, order, done)
            case cmd.Track():
                self._track(tx, row, context, command, asker, done)
            case cmd.Update():
                self._update(tx, row, context, command, asker, now_ms)
            case cmd.Cancel():
                order = find_for(tx, asker, command.order_id, lenient=self._voice.lenient)
                reason = command.reason or "user_request"
                order = self._ordering.cancel(tx, order, reason, CancelledBy.BUYER, now_ms, command.wire)
                self._finish(tx, row, codec.on_cancel(reply, order, Shown(item=self._item(order))), order, done)
                return [order.token] if order.token is not None else []
            case cmd.Rating():
                self._rate(tx, row, context, command, asker, now_ms)
            case cmd.Support():
                self._support(tx, row, context, command, asker, now_ms)
            case cmd.RatingCategories():
                self._finish(tx, row, codec.rating_categories(reply), None, done)
            case _:
                raise Refusal(Why.NOT_SUPPORTED, f"the action {context.action} is not offered here")
        return []

    def _track(
        self, tx: Tx, row: Row, context: Context, command: cmd.Track, asker: Asker, done: dict[str, Any]
    ) -> None:
        order_id = command.order_id
        if order_id is None and command.tracking_id is not None:
            order_id = command.tracking_id.removeprefix("TRACK-")
        order = find_for(tx, asker, order_id, lenient=True)
        if command.callback_url is not None:
            watch(tx, order, command.callback_url, self._clock.now_ms())
        shown = self._shown(tx, order)
        assert shown.progress is not None
        url = shown.progress.tracking_url or self._voice.public_url
        body = self._codec(context).on_track(
            self._reply(context), order, url, shown, with_order=command.order_id is not None
        )
        self._finish(tx, row, body, order, done)

    def _update(self, tx: Tx, row: Row, context: Context, command: cmd.Update, asker: Asker, now_ms: int) -> None:
        """Start or stop, by our own state (BECKN 4.8). Answered at once only when there is nothing to wait for."""
        order = find_for(tx, asker, command.order_id, lenient=self._voice.lenient)
        wanted = "stop" if command.wants_stop else "start"
        is_over = order.is_billed or order.state is State.CANCELLED
        if is_over and command.payment is not None and order.collected_by is CollectedBy.BAP:
            # Nothing starts or stops any more: an app that collects tells of money (BECKN 4.10).
            order, at_once = self._ordering.heard_of_money(tx, order, _claim(command.payment), now_ms), True
        elif wanted == "stop":
            before = order.state
            order = self._ordering.stop(tx, order, now_ms)
            at_once = before in {State.COMPLETED, State.INTERRUPTED}
            if before in _RUNNING and order.session_id is not None and not self._socket(order)[1]:
                # Nobody can be told to stop now. Who asked hears how it stands, and the end by itself (BECKN 4.10).
                order, at_once = cut_off(tx, order), True
        else:
            order, instruction = self._ordering.start(tx, order, now_ms, otp=command.otp)
            at_once = instruction is None
        done: dict[str, Any] = {"state": "done"}
        if at_once:
            body = self._codec(context).on_update(self._reply(context), order, self._shown(tx, order))
            self._finish(tx, row, body, order, done)
            return
        until_ms = row["received_ms"] + context.ttl_ms
        asked = {
            **dict(order.wire.get("asked") or {}),
            wanted: {"message_id": context.message_id, "until_ms": until_ms},
        }
        touch_wire(tx, order, now_ms, asked=asked)
        tx.change(Table.INBOX, done, no=row["no"])

    def _rate(self, tx: Tx, row: Row, context: Context, command: cmd.Rating, asker: Asker, now_ms: int) -> None:
        try:
            order: Order | None = find_for(tx, asker, None, lenient=True)
        except Refusal:
            order = None
        subject = ""
        for rated in command.ratings:
            subject = self._rated(tx, rated, order, asker)
            opinion = Opinion(
                subject=subject,
                category=rated.category or "ORDER",
                value=rated.value,
                worst=rated.worst,
                best=rated.best,
                comments=rated.comments,
                tags=rated.tags,
            )
            about = order.order_id if order is not None else None
            keep(tx, opinion, bap_id=asker.bap_id, transaction_id=asker.transaction_id, order_id=about, now_ms=now_ms)
        value, count = average(tx, subject)
        url = self._feedback_url(tx, order)
        body = self._codec(context).on_rating(
            self._reply(context),
            aggregate=Aggregate(value=value, count=count),
            feedback_url=url,
            submission_id=str(uuid.uuid5(uuid.NAMESPACE_URL, url)) if url is not None else None,
        )
        self._finish(tx, row, body, order, {"state": "done"})

    def _rated(self, tx: Tx, rated: cmd.Rated, order: Order | None, asker: Asker) -> str:
        """What an opinion is about. Refusal(UNKNOWN_TARGET) for what this buyer has not used (30014)."""
        target = rated.target_id
        has_used = order is not None and order.confirmed_at_ms is not None  # anybody may ask a price
        if order is not None and has_used and target in names_of(order) | {self._market.provider.provider_id}:
            return target
        if tx.one(Table.ORDERS, id=target, bap_id=asker.bap_id) is not None:
            return target
        if order is not None and self._voice.lenient:
            return order.order_id  # examples name things that we never named (BECKN 1.6)
        raise Refusal(Why.UNKNOWN_TARGET, f"{target} is nothing this buyer has used")

    def _feedback_url(self, tx: Tx, order: Order | None) -> str | None:
        stored = tx.one(Table.ORDERS, id=order.order_id) if order is not None else None
        if not self._voice.has_feedback_form or stored is None or not stored["tracking"]:
            return None
        return f"{self._voice.public_url}/feedback/{stored['tracking']}"

    def _support(self, tx: Tx, row: Row, context: Context, command: cmd.Support, asker: Asker, now_ms: int) -> None:
        """A ticket for the question, and where its answer will stand."""
        try:
            order: Order | None = find_for(tx, asker, command.ref_id, lenient=True)
        except Refusal:
            order = None
        ticket = tickets.ask(
            tx,
            ticket_id=self._ids.secret(),
            bap_id=asker.bap_id,
            transaction_id=asker.transaction_id,
            order_id=order.order_id if order is not None else None,
            ref_id=command.ref_id,
            ref_type=command.ref_type,
            contact=command.contact,
            now_ms=now_ms,
        )
        url = f"{self._voice.public_url}/support/{ticket['id']}"
        contact = replace(self._voice.contact, url=url, ticket=str(ticket["no"]))
        body = self._codec(context).on_support(self._reply(context), contact, command.ref_id)
        self._finish(tx, row, body, order, {"state": "done"})

    # -- the pieces

    def _finish(
        self, tx: Tx, row: Row, body: Mapping[str, object], order: Order | None, values: dict[str, Any]
    ) -> None:
        outbox_no = write(
            tx,
            body,
            purpose=f"in:{row['no']}",
            network=row["network"],
            now_ms=self._clock.now_ms(),
            order_id=order.order_id if order is not None else None,
            caller_url=self._voice.caller_url,
            answer_uri=answer_uri_of(row),
        )
        tx.change(Table.INBOX, {**values, "outbox_no": outbox_no}, no=row["no"])

    def _codec(self, context: Context) -> Codec:
        return self._voice.codecs.of_context(context)

    def _reply(self, context: Context) -> Json:
        return envelope.reply_context(context, self._codec(context).speaker.bpp, self._clock.now_ms())

    def _shown(self, tx: Tx, order: Order) -> Shown:
        """An order that may be charging."""
        progress = progress_of(tx, order, self._socket, self._voice.public_url)
        return Shown(item=self._item(order), progress=progress, asks_otp=asks_otp(tx, order))

    def _item(self, order: Order) -> ItemView | None:
        return self._market.item(order.item_id)

    def _quoted(self, tx: Tx, order: Order, now_ms: int) -> Shown:
        """An order that is being bought, with the offer it was priced by."""
        item = self._item(order)
        own = order.terms.tariff if self._market.is_own(order) else None
        offers = self._market.offers([item], now_ms, own) if item is not None else []
        wanted = [offer for offer in offers if order.offer_id in {None, offer.offer_id}]
        return Shown(item=item, offer=wanted[0] if wanted else None, asks_otp=asks_otp(tx, order))

    def _asker(self, context: Context) -> Asker:
        return Asker(
            network=self._codec(context).network,
            bap_id=context.bap_id,
            bap_uri=context.bap_uri,
            transaction_id=context.transaction_id,
            domain=context.domain,
        )


def _page(tx: ReadTx, after: int) -> list[Row]:
    return tx.many(Table.INBOX, order="no", limit=_PAGE, after=after, state="new")


def _wish(command: cmd.Select | cmd.Init) -> Wish:
    return Wish(
        item_id=command.item_id,
        want=command.want,
        offer_id=command.offer_id,
        finder_fee=command.finder_fee,
        start_ms=command.slot.start_ms if command.slot is not None else None,
        end_ms=command.slot.end_ms if command.slot is not None else None,
        buyer=command.buyer,
        wire=dict(command.wire),
    )


def _claim(payment: cmd.PaymentClaim | None) -> Claim | None:
    if payment is None:
        return None
    return Claim(
        payment_id=payment.payment_id,
        status=payment.status,
        amount_minor=payment.amount_minor,
        txn_ref=payment.txn_ref,
        paid_at_ms=payment.paid_at_ms,
        payer_vpa=payment.payer_vpa,
        details={"accounts": [dict(account) for account in payment.accounts]} if payment.accounts else {},
    )
