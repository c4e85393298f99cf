"""The tables of selling: who buys, what is settled on paper, what gateways and networks say. Units as in `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint

from csms.storage.metadata import Serial, metadata

# ── who buys ──────────────────────────────────────────────────────────────────────────────────────────────────

fleets = Table(
    "fleets",
    metadata,
    # A fleet or a loyalty programme: who belongs to it, and what they pay.
    Column("id", Text, primary_key=True),
    Column("data", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

identities = Table(
    "identities",
    metadata,
    # Every name a buyer was given, hashed; names on one card were seen together (BECKN 7.4).
    Column("name_hash", Text, primary_key=True),
    Column("card", Text, primary_key=True),  # the digest of all names on it
    Column("kind", Text, nullable=False),  # phone, email, buyer, vpa, vehicle, token
    Column("apart", Integer, nullable=False, default=0),  # an operator's word: it does not make one person of many
    Column("order_id", Text),  # where it was seen first
    Column("seen_ms", BigInteger, nullable=False),
    Index("identities_by_card", "card"),
    Index("identities_by_order", "order_id"),
)

otps = Table(
    "otps",
    metadata,
    # One-time passwords: at start, or before a fleet's price holds. The code itself is written nowhere: it is worked
    # out of the nonce and a key that is not in the store.
    Column("order_id", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),  # start, fleet
    Column("nonce", Text, nullable=False),
    Column("sent_to", Text),  # the telephone number, hashed
    Column("state", Text, nullable=False),  # sent, verified, spent (too many wrong tries)
    Column("tries", Integer, nullable=False, default=0),
    Column("sends", Integer, nullable=False, default=1),
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("otps_by_phone", "sent_to", "made_ms"),
)

tickets = Table(
    "tickets",
    metadata,
    # Questions of buyers, until somebody has answered them.
    Column("id", Text, primary_key=True),
    Column("no", Serial, nullable=False, unique=True),
    Column("bap_id", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("order_id", Text),
    Column("ref_id", Text, nullable=False),
    Column("ref_type", Text, nullable=False),
    Column("contact", Text, nullable=False, default="{}"),
    Column("state", Text, nullable=False),  # open, closed
    Column("answer", Text),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
    Index("tickets_by_state", "state", "no"),
    UniqueConstraint("bap_id", "transaction_id", "ref_id"),
)

trackers = Table(
    "trackers",
    metadata,
    # Where a buyer's app wants progress to be PATCHed (generation 1).
    Column("order_id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("state", Text, nullable=False),  # live, done, failed
    Column("next_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("told", Text, nullable=False, default="{}"),  # what was sent last
    Column("error", Text),
    Index("trackers_by_state", "state", "next_ms"),
)

# ── what is settled on paper ──────────────────────────────────────────────────────────────────────────────────

documents = Table(
    "documents",
    metadata,
    # Invoices, credit notes, statements: made once, never changed.
    Column("id", Text, primary_key=True),
    Column("no", Serial, nullable=False, unique=True),
    Column("key", Text, nullable=False, unique=True),  # what it is about: made twice is made once
    Column("kind", Text, nullable=False),  # invoice, credit_note, debit_note, bap_statement, cdr_statement, …
    Column("number", Text, nullable=False),  # unbroken within series and financial year
    Column("token", Text, unique=True),  # of the buyer's public link; statements have none
    Column("order_id", Text),
    Column("revision", Integer),
    Column("party", Text),  # the buyer app of an order; whom a statement is for
    Column("period", Text),  # 2026-11, of statements
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # every figure and word in it
    Column("sha256", Text, nullable=False),  # of the printed page
    UniqueConstraint("kind", "number"),
    Index("documents_by_order", "order_id"),
    Index("documents_by_party", "kind", "party", "period"),
    Index("documents_by_age", "made_ms"),
)

document_pages = Table(
    "document_pages",
    metadata,
    # What is large of a document, apart from what lists read.
    Column("id", Text, primary_key=True),
    Column("html", LargeBinary, nullable=False),
    Column("csv", LargeBinary),  # the lines of a statement, compressed (zlib)
)

remittances = Table(
    "remittances",
    metadata,
    # Money that a buyer app or a fleet paid over, and how much of it has found its orders.
    Column("payer", Text, primary_key=True),  # bap, fleet
    Column("party", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("no", Serial, nullable=False, unique=True),
    Column("amount_minor", BigInteger, nullable=False),
    Column("withheld_minor", BigInteger, nullable=False),  # tax deducted at source: not money, but settled
    Column("left_minor", BigInteger, nullable=False),  # of both, not allocated yet
    Column("passes", Integer, nullable=False, default=0),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text),
    Index("remittances_by_left", "left_minor"),
)

consumers = Table(
    "consumers",
    metadata,
    # Accounts with the electricity supplier, by the token whose energy belongs to them.
    Column("uid_norm", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("consumer_number", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

# ── what gateways told us ─────────────────────────────────────────────────────────────────────────────────────

gateway_events = Table(
    "gateway_events",
    metadata,
    # Every event of a payment gateway, once.
    Column("provider", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("payment_id", Text),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),  # waiting, done, ignored, refused
    Column("error", Text),
    Column("received_ms", BigInteger, nullable=False),
    Index("gateway_events_by_payment", "payment_id", "received_ms"),
    Index("gateway_events_by_state", "state", "received_ms"),
)

gateway_refs = Table(
    "gateway_refs",
    metadata,
    # What a gateway is asked to collect, and what it calls it. A payment asked for anew with another sum has two rows.
    Column("receipt", Text, primary_key=True),  # what we call it there: payment, sum and manner, hashed
    Column("no", Serial, nullable=False, unique=True),
    Column("payment_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("is_hold", Integer, nullable=False),
    Column("remote_id", Text),  # the gateway's order
    Column("remote_payment_id", Text),  # the payment that fulfilled it
    Column("state", Text, nullable=False),  # wanted, made, authorized, captured, voided, unplaced, refused, closed
    Column("expires_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger),  # looked at again then; empty: no more
    Column("checked_ms", BigInteger),  # the gateway was asked last
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False, default="{}"),
    Index("gateway_refs_by_payment", "payment_id"),
    Index("gateway_refs_by_remote", "remote_id"),
    Index("gateway_refs_by_next", "next_ms"),
)

# ── what networks and suppliers told us ───────────────────────────────────────────────────────────────────────

publications = Table(
    "publications",
    metadata,
    # Catalogues pushed to a discovery service, and what it made of them.
    Column("message_id", Text, primary_key=True),
    Column("no", Serial, nullable=False, unique=True),
    Column("catalog_id", Text, nullable=False),
    Column("outbox_no", BigInteger),  # empty: the message is gone, a newer one took its place
    Column("transaction_id", Text, nullable=False),
    Column("reason", Text, nullable=False),  # start, changed, schedule, asked
    Column("items", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),  # sent, replaced, accepted, rejected, partial
    Column("results", Text),
    Column("at_ms", BigInteger, nullable=False),
    Column("answered_ms", BigInteger),
    Index("publications_by_catalog", "catalog_id", "no"),
)

homes = Table(
    "homes",
    metadata,
    # Where the registry says a participant whose signature held is at home: callbacks may go there.
    Column("subscriber_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # BAP, BG …
    Column("url", Text, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Index("homes_by_kind", "kind"),
)

price_events = Table(
    "price_events",
    metadata,
    # Prices of energy by the hour, as a supplier announced them.
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),  # the tariffs it moves
    Column("starts_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # live, cancelled, over
    Column("received_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Index("price_events_by_state", "state", "starts_ms"),
)
