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
    # Every name a buyer was given, hashed; names seen together belong to one person (BECKN 7.4).
    Column("name_hash", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # phone, email, buyer, vpa, vehicle, token
    Column("person", Text, nullable=False),  # the same for all names of one person
    Column("order_id", Text),  # where it was seen first
    Column("seen_ms", BigInteger, nullable=False),
    Index("identities_by_person", "person"),
)

otps = Table(
    "otps",
    metadata,
    # One-time passwords: at start, or before a fleet's price holds.
    Column("order_id", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),  # start, fleet
    Column("code_hash", Text, nullable=False),
    Column("sent_to", Text),
    Column("state", Text, nullable=False),  # sent, verified, spent
    Column("tries", Integer, nullable=False, default=0),
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
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
    Column("kind", Text, nullable=False),  # invoice, credit_note, bap_statement, cdr_statement, fleet_statement
    Column("number", Text, nullable=False),  # unbroken within series and financial year
    Column("order_id", Text),
    Column("revision", Integer),
    Column("party", Text),  # a buyer app or a fleet, of statements
    Column("period", Text),  # 2026-11, of statements
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # every figure and word in it
    Column("html", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
    UniqueConstraint("kind", "number"),
    UniqueConstraint("kind", "order_id", "revision"),
    Index("documents_by_order", "order_id"),
    Index("documents_by_party", "kind", "party", "period"),
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
    Column("state", Text, nullable=False),  # done, refused, ignored
    Column("error", Text),
    Column("received_ms", BigInteger, nullable=False),
)

gateway_refs = Table(
    "gateway_refs",
    metadata,
    # What a gateway calls a payment of ours.
    Column("payment_id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("remote_id", Text),  # the gateway's order or link
    Column("remote_payment_id", Text),  # the payment that fulfilled it
    Column("state", Text, nullable=False),
    Column("checked_ms", BigInteger),  # reconciled last
    Column("updated_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False, default="{}"),
    Index("gateway_refs_by_remote", "remote_id"),
    Index("gateway_refs_by_state", "provider", "state", "checked_ms"),
)

# ── what networks and suppliers told us ───────────────────────────────────────────────────────────────────────

publications = Table(
    "publications",
    metadata,
    # Catalogues pushed to a discovery service, and what it made of them.
    Column("message_id", Text, primary_key=True),
    Column("no", Serial, nullable=False, unique=True),
    Column("transaction_id", Text, nullable=False),
    Column("reason", Text, nullable=False),  # start, changed, schedule, asked
    Column("items", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),  # sent, accepted, rejected, partial, failed
    Column("results", Text),
    Column("at_ms", BigInteger, nullable=False),
    Column("answered_ms", BigInteger),
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
    Column("state", Text, nullable=False),  # coming, active, over, cancelled
    Column("received_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Index("price_events_by_state", "state", "starts_ms"),
)
