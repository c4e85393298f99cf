"""Every table, once. Migrations are written from these; the hot statements and the use cases both rest on them.

Units in the names: `_ms` UTC milliseconds since the epoch, `_wh` whole Wh, `_minor` paise, `_w` watts. JSON is TEXT.
Natural keys are unique indexes, because correctness under repeats rests on them (SESSIONS 5.5).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from csms.storage import selling_tables
from csms.storage.metadata import Serial, metadata

__all__ = ["metadata", "selling_tables"]  # importing this module declares them all

stations = Table(
    "stations",
    metadata,
    Column("id", Text, primary_key=True),  # the OCPP identity, as configured
    Column("no", Integer, nullable=False, unique=True),  # short key of the hot tables
    Column("id_folded", Text, nullable=False, unique=True),  # for case-insensitive lookup (PEERS 3 row 16)
    Column("transport", Text),  # ocpp1.6, ocpp2.0.1, mqtt, ble; None until first contact
    Column("security_profile", Integer, nullable=False, default=0),
    Column("registration", Text, nullable=False, default="Accepted"),
    Column("password_hash", Text),
    Column("password_pending_hash", Text),
    Column("security_profile_pending", Integer),  # asked of the charger; counts from its first connection with it
    Column("profile", Text),  # firmware profile id
    Column("quirks", Text, nullable=False, default="[]"),
    Column("location_id", Text),
    Column("rated_w", Integer),
    Column("vendor", Text),
    Column("model", Text),
    Column("serial", Text),
    Column("firmware", Text),
    Column("iccid", Text),
    Column("imsi", Text),
    Column("meter_serial", Text),
    Column("boot_n", Integer, nullable=False, default=0),
    Column("boot_ms", BigInteger),
    Column("boot_reason", Text),
    Column("epoch", Integer, nullable=False, default=0),  # link epochs given so far: the fencing token
    Column("link_node", Text),  # who holds the link now; None = offline
    Column("link_opened_ms", BigInteger),
    Column("link_closed_ms", BigInteger),
    Column("last_seen_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("deleted", Integer, nullable=False, default=0),
    Column("data", Text, nullable=False, default="{}"),  # clock skew samples, configuration seen, …
)

sockets = Table(
    "sockets",
    metadata,
    Column("station", Text, primary_key=True),
    Column("evse", Integer, primary_key=True),
    Column("connector", Integer, primary_key=True),  # 0/0 = the station itself
    Column("status", Text, nullable=False),
    Column("status_at_ms", BigInteger),  # device time
    Column("reported_ms", BigInteger, nullable=False),
    Column("error_code", Text),
    Column("info", Text),
    Column("vendor_error_code", Text),
)

tokens = Table(
    "tokens",
    metadata,
    Column("uid_norm", Text, primary_key=True),  # upper-case, trimmed: 1.6 tokens are case-insensitive
    Column("uid", Text, nullable=False),
    Column("type", Text, nullable=False, default="ISO14443"),
    Column("kind", Text, nullable=False, default="regular"),  # regular, fleet, app, autocharge, order (one-time)
    Column("status", Text, nullable=False, default="Accepted"),
    Column("expires_ms", BigInteger),
    Column("group_id", Text),
    Column("driver", Text),
    Column("order_id", Text),
    Column("station", Text),
    Column("evse", Integer),
    Column("connector", Integer),
    Column("budget_wh", BigInteger),  # what an order's token may draw
    Column("budget_s", Integer),
    Column("used_ms", BigInteger),
    Column("history", Text, nullable=False, default="[]"),  # [[from_ms, status, expires_ms, group_id], …]
    Column("updated_ms", BigInteger, nullable=False),
    Column("places", Text),  # JSON [{station | location, evses}]: good there only; None: everywhere
    Column("power_types", Text),  # JSON ["AC", "DC"]; None: either
    Column("one_at_a_time", Integer),  # None: as configured
    Column("deleted", Integer, nullable=False, default=0),  # 1: kept for the offline starts of its time
)

sessions = Table(
    "sessions",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("station", Text, nullable=False),
    Column("evse", Integer, nullable=False),
    Column("connector", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("open", Integer, nullable=False),  # energy may still flow, or data is awaited
    Column("version", Integer, nullable=False),
    Column("token", Text),
    Column("order_id", Text),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("meter_start_wh", BigInteger),
    Column("meter_stop_wh", BigInteger),
    Column("energy_wh", BigInteger),
    Column("quality", Text),
    Column("last_proven_ms", BigInteger),
    Column("last_proven_wh", BigInteger),
    Column("power_w", Integer),
    Column("power_at_ms", BigInteger),
    Column("soc_percent", Integer),
    Column("seq_mask", Text),  # hexadecimal: the 2.0.1 sequence numbers seen
    Column("frame_seq", BigInteger, nullable=False, default=0),  # readings of younger frames are not in this row yet
    Column("stop_reason", Text),
    Column("end_cause", Text),
    Column("revision", Integer, nullable=False, default=0),
    Column("last_no", Integer, nullable=False),  # the largest number given out for it: its own or a transaction's
    Column("tx_ids", Text, nullable=False, default="[]"),
    Column("updated_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # the whole session as domain/session.py writes it
    Index("sessions_by_station", "station", "no"),
    Index("sessions_open", "open", "no"),
    Index("sessions_by_state", "state"),
    Index("sessions_by_last_no", "last_no"),
    Index("sessions_by_order", "order_id"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("station", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # ocpp16_id, ocpp201_txid, local_txn_id, remote_start_id, start_key, …
    Column("value", Text, primary_key=True),
    Column("session_no", Integer, nullable=False),
    Column("segment", Integer, nullable=False, default=0),
)

readings = Table(
    "readings",
    metadata,
    # Rows lie in the order in which they came, so that a batch fills pages one after the other; the unique index
    # finds those of a subject. Clustered by subject each row cost twice as much: a page of its own per charger.
    Column("no", Serial, primary_key=True),
    # subject: the session number, or minus the station number for values outside any session
    Column("subject", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),  # effective time
    Column("socket", Integer, nullable=False),  # evse * 1000 + connector
    Column("register_wh", BigInteger, nullable=False),  # -1 = the reading has no register
    Column("device_ms", BigInteger),
    Column("received_ms", BigInteger, nullable=False),
    Column("context", Text, nullable=False),
    Column("power_w", Integer),
    Column("current_ma", Integer),
    Column("voltage_mv", Integer),
    Column("soc_percent", Integer),
    Column("flags", Integer, nullable=False, default=0),  # 1 = signed
    Column("frame_seq", BigInteger),
    Column("seq_no", Integer),  # of the 2.0.1 TransactionEvent that brought it
    UniqueConstraint("subject", "at_ms", "socket", "register_wh"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("session_no", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("provisional", Integer, nullable=False, default=0),
    Column("energy_wh", BigInteger, nullable=False),
    Column("quality", Text),
    Column("duration_s", Integer),
    Column("currency", Text),
    Column("amount_minor", BigInteger),
    Column("breakdown", Text),
    Column("reason", Text),
    Column("session_version", Integer, nullable=False),
    Index("revisions_by_time", "at_ms"),
)

frames = Table(
    "frames",
    metadata,
    # One row per exchange: the call and, beside it, its answer.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("station_no", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("origin", Integer, nullable=False),  # 0 = the charger called, 1 = we called
    Column("action", Text),
    Column("message_id", Text),
    Column("request", Text, nullable=False),
    Column("response", Text),
    Column("answered_ms", BigInteger),
    Column("note", Text),  # malformed, repaired by rule, replayed, …
    Index("frames_by_station", "station_no", "seq"),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("station", Text),
    Column("session_no", Integer),
    Column("order_id", Text),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    # What a charger was told, by the business key of what it told us (SESSIONS 5.5).
    Column("station_no", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

instructions = Table(
    "instructions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("effect_key", Text),
    Column("issued_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger),
    Column("answered_ms", BigInteger),
    Column("effective_ms", BigInteger),
    Column("order_id", Text),
    Column("session_id", Text),
    Column("token", Text),
    Column("reason", Text),
    Column("response", Text),
    Column("message_id", Text),
    Index("instructions_by_station", "station", "state"),
    Index("instructions_by_state", "state"),
    Index("instructions_by_effect", "effect_key"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("no", Integer, nullable=False, unique=True),
    Column("network", Text, nullable=False),
    Column("bap_id", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("station", Text),
    Column("evse", Integer),
    Column("connector", Integer),
    Column("session_id", Text),
    Column("token", Text),
    Column("payment_id", Text),
    Column("tracking", Text, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("data", Text, nullable=False),
    Column("fleet_id", Text),  # whose price it has: a fleet or a loyalty programme
    UniqueConstraint("bap_id", "transaction_id"),
    Index("orders_by_fleet", "fleet_id", "created_ms"),
    Index("orders_by_session", "session_id"),
    Index("orders_by_state", "state"),
    Index("orders_by_payment", "payment_id"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("no", Serial, primary_key=True, autoincrement=True),
    Column("order_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("wh", BigInteger, nullable=False, default=0),
    Column("idem_key", Text, nullable=False, unique=True),
    Column("ref", Text),
    Column("at_ms", BigInteger, nullable=False),
    Index("ledger_by_order", "order_id", "no"),
)

payments = Table(
    "payments",
    metadata,
    # The gateway's side of a payment, and every order to it, by key: calling twice moves money once.
    Column("key", Text, primary_key=True),
    Column("payment_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # request, paid, capture, release, refund, topup
    Column("status", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("ref", Text),
    Column("at_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger),
    Column("attempts", Integer, nullable=False, default=0),
    Column("data", Text, nullable=False, default="{}"),
    Index("payments_by_payment", "payment_id"),
    Index("payments_by_status", "status"),
)

cases = Table(
    "cases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("no", Serial, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),  # open, resolved
    Column("station", Text),
    Column("session_id", Text),
    Column("order_id", Text),
    Column("text", Text, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger),
    Column("resolution", Text),
    Column("data", Text, nullable=False, default="{}"),
    Index("cases_by_session", "session_id"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("no", Serial, primary_key=True, autoincrement=True),
    Column("network", Text, nullable=False),
    Column("bap_id", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False, default="{}"),
    Column("received_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # new, done, failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", Text),
    Column("outbox_no", BigInteger),
    UniqueConstraint("bap_id", "transaction_id", "message_id", "action", "digest"),
    Index("inbox_by_state", "state", "no"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("no", Serial, primary_key=True, autoincrement=True),
    Column("purpose", Text, nullable=False, unique=True),  # what it is for; the second of a kind is no message
    Column("network", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("bap_id", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("order_id", Text),
    Column("body", LargeBinary, nullable=False),
    # waiting (the head of its conversation), behind (others of it go first), done, failed
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger),
    Column("error", Text),
    Index("outbox_in_line", "state", "bap_id", "next_ms"),
    Index("outbox_by_conversation", "bap_id", "transaction_id", "state"),
    Index("outbox_by_order", "order_id"),
)

locations = Table(
    "locations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("data", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
tariffs = Table(
    "tariffs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("data", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
offers = Table(
    "offers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("data", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # the number on the wire
    Column("station", Text, nullable=False),
    Column("evse", Integer, nullable=False),
    Column("connector", Integer, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("token", Text),
    Column("order_id", Text),
    Column("status", Text, nullable=False),
    Column("hold", Text, nullable=False, default="soft"),  # soft: while a quote lives, or ours alone; hard: for certain
    Column("told", Text, nullable=False, default="no"),  # no, asked, holds, refused, unsupported, silent, gone
    Column("told_ms", BigInteger),  # when the charger was asked last
    Column("told_times", Integer, nullable=False, default=0),
    Column("reason", Text),  # the charger's own word for no
    Column("connector_type", Text),  # of a reservation for any socket of a kind; OCPP 2.0.1's ConnectorEnum
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("reservations_by_status", "status", "start_ms"),
    Index("reservations_by_told", "told", "status"),
    Index("reservations_by_station", "station", "status"),
    Index("reservations_by_order", "order_id"),
)

charging_profiles = Table(
    "charging_profiles",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("description", Text),
    Column("data", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("action", Text),
    Column("message_id", Text),
    Column("raw", Text, nullable=False),
    Column("problems", Text, nullable=False),
    Column("rules", Text, nullable=False, default="[]"),
    Column("state", Text, nullable=False),  # repaired, waiting, done
    Index("quarantine_by_station", "station"),
)

reports = Table(
    "reports",
    metadata,
    # NotifyReport, NotifyEvent and their kin, as they came (SESSIONS 5.5: duplicates are ignored).
    Column("station", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("request_id", Integer, primary_key=True, autoincrement=False),
    Column("seq_no", Integer, primary_key=True, autoincrement=False),
    Column("generated_at", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Index("reports_by_age", "received_ms"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("status", Integer),
    Column("body", Text),
    Column("at_ms", BigInteger, nullable=False),
)

ratings = Table(
    "ratings",
    metadata,
    Column("bap_id", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("transaction_id", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("feedback", Text, nullable=False, default="{}"),
    Column("at_ms", BigInteger, nullable=False),
    Index("ratings_by_subject", "subject", "at_ms"),
)

# ── what we know of chargers, and what we want of them ────────────────────────────────────────────────────────

configuration = Table(
    "configuration",
    metadata,
    # What a charger last said about itself. `name` is a key (1.6) or `Component.Variable` (2.0.1) in full:
    # `Component[instance]@evse.connector.Variable[instance]`, the parts that are absent left out.
    Column("station", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("attribute", Text, primary_key=True, default="Actual"),  # 2.0.1: Actual, Target, MinSet, MaxSet
    Column("value", Text),  # None: not set, or write-only
    Column("mutability", Text),  # ReadOnly, WriteOnly, ReadWrite; None: not told
    Column("data", Text, nullable=False, default="{}"),  # 2.0.1: the parts of the name, its characteristics
    Column("seen_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

config_templates = Table(
    "config_templates",
    metadata,
    # Values wanted of every charger that matches; of several that name the same key the highest priority counts.
    Column("id", Text, primary_key=True),
    Column("transport", Text),  # ocpp1.6, ocpp2.0.1; None: both, whatever a charger knows of it
    Column("priority", Integer, nullable=False, default=0),
    Column("match", Text, nullable=False, default="{}"),  # vendor, model (globs), location_id, charger_id
    Column("wanted", Text, nullable=False, default="{}"),  # name -> value
    Column("enabled", Integer, nullable=False, default=1),
    Column("updated_ms", BigInteger, nullable=False),
)

provisioning = Table(
    "provisioning",
    metadata,
    Column("station", Text, primary_key=True),
    Column("state", Text, nullable=False),  # unknown, in-step, drifted, reboot-needed, failed
    Column("drift", Text, nullable=False, default="[]"),  # [{name, wanted, found, outcome}]
    Column("detail", Text),
    Column("inventory_ms", BigInteger),  # when everything was read last
    Column("inventory_firmware", Text),  # and which firmware said it
    Column("checked_ms", BigInteger),
    Column("template", Text),  # the built-in template an operator chose for this charger; None: the configured one
    Column("asked", Text),  # the errand an operator asked for and that is not done yet
    Column("written_ms", BigInteger),  # when something was written to it last
    Column("reset_ms", BigInteger),  # when a restart was asked of it for what was written
    Column("updated_ms", BigInteger, nullable=False),
    Index("provisioning_by_state", "state"),
)

local_lists = Table(
    "local_lists",
    metadata,
    Column("station", Text, primary_key=True),
    Column("version", Integer, nullable=False, default=0),  # of the list we last sent and it took
    Column("reported_version", Integer),  # what it said last; -1: it keeps no list
    Column("entries", Text, nullable=False, default="{}"),  # what it holds: token -> what it was told of it
    Column("state", Text, nullable=False),  # unknown, in-step, due, not-supported, failed
    Column("detail", Text),
    Column("checked_ms", BigInteger),
    Column("updated_ms", BigInteger, nullable=False),
    Column("tokens", Text),  # off, fleet, all: what an operator wants on it; None: as configured
    Column("withheld", Text, nullable=False, default="{}"),  # token -> when its holder was cleared from the charger
    Column("firmware", Text),  # of the charger that keeps no list
    Column("frame_seq", BigInteger, nullable=False, default=0),  # the newest answer taken in
)

installed_profiles = Table(
    "installed_profiles",
    metadata,
    # The shadow of the charging profiles a charger holds, as far as we set them or it told us.
    Column("station", Text, primary_key=True),
    Column("evse", Integer, primary_key=True),  # 1.6: the connector; 0: the whole charger
    Column("profile_id", Integer, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("stack_level", Integer, nullable=False),
    Column("tx_id", Text),
    Column("origin", Text, nullable=False),  # csms: we set it; reported: the charger told us; vehicle: the car did
    Column("source", Text),  # OCPP 2.0.1's ChargingLimitSource: CSO, EMS, SO, Other
    Column("data", Text, nullable=False),  # the profile as it stands on the wire
    Column("updated_ms", BigInteger, nullable=False),
)

certificates = Table(
    "certificates",
    metadata,
    # Certificates that we issued to chargers, and those that chargers told us they hold.
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("role", Text, nullable=False),  # issued, installed
    Column("use", Text, nullable=False),  # ChargingStationCertificate, CSMSRootCertificate, …
    Column("serial", Text, nullable=False),  # hexadecimal, without leading zeros
    Column("subject", Text),
    Column("hash", Text, nullable=False, default="{}"),  # CertificateHashData as it stands on the wire
    Column("pem", Text),  # the chain; of a request that is not signed yet: the request
    Column("valid_from_ms", BigInteger),
    Column("expires_ms", BigInteger),
    Column("state", Text, nullable=False),  # domain/certificate.State
    Column("detail", Text),
    Column("updated_ms", BigInteger, nullable=False),
    Index("certificates_by_station", "station", "role"),
    Index("certificates_by_expiry", "role", "expires_ms"),
    Index("certificates_by_serial", "serial", "role"),
)

vehicles = Table(
    "vehicles",
    metadata,
    # Autocharge: a car that is known by its own number stands for a token, within its limits.
    Column("id_norm", Text, primary_key=True),  # upper case, without separators
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # mac, vin, evccid, emaid
    Column("token", Text, nullable=False),  # uid_norm of the token it stands for
    Column("limit_wh", BigInteger),
    Column("limit_s", Integer),
    Column("enabled", Integer, nullable=False, default=1),
    Column("updated_ms", BigInteger, nullable=False),
    Index("vehicles_by_token", "token"),
)

firmware_images = Table(
    "firmware_images",
    metadata,
    Column("id", Text, primary_key=True),
    Column("vendor", Text),
    Column("model", Text),
    Column("version", Text, nullable=False),
    Column("url", Text),  # where chargers fetch it, when it is kept elsewhere
    Column("file", Text),  # its name below the files folder, when it is kept here
    Column("sha256", Text),
    Column("size", BigInteger),
    Column("signing_certificate", Text),  # PEM
    Column("signature", Text),  # base64
    Column("created_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False, default="{}"),
)

firmware_campaigns = Table(
    "firmware_campaigns",
    metadata,
    Column("id", Text, primary_key=True),
    Column("image", Text, nullable=False),
    Column("state", Text, nullable=False),  # running, paused, stopped, cancelled, done
    Column("detail", Text),  # why it stopped by itself
    Column("start_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False, default="{}"),  # its orders: domain/firmware.Orders, and the selection
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("firmware_campaigns_by_state", "state"),
    Index("firmware_campaigns_by_image", "image"),
)

firmware_jobs = Table(
    "firmware_jobs",
    metadata,
    # One charger in one campaign.
    Column("id", Text, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("state", Text, nullable=False),  # domain/firmware.State
    Column("request_id", Integer),
    Column("status", Text),  # the charger's own last word
    Column("detail", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False, default="{}"),
    Index("firmware_jobs_by_station", "station", "state"),
    Index("firmware_jobs_by_campaign", "campaign", "state"),
    Index("firmware_jobs_by_state", "state"),
)

uploads = Table(
    "uploads",
    metadata,
    # A place where one charger may put one file, with a secret of its own in the address.
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("kind", Text, nullable=False),  # diagnostics, log
    Column("log_type", Text),
    Column("request_id", Integer),
    Column("secret", Text, nullable=False),  # a digest
    Column("state", Text, nullable=False),  # domain/uploads.State
    Column("status", Text),  # the charger's own last word
    Column("detail", Text),
    Column("location", Text),  # where it goes when that is not here
    Column("file_name", Text),
    Column("file", Text),  # its name below the files folder
    Column("size", BigInteger),
    Column("sha256", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("uploads_by_station", "station", "state"),
    Index("uploads_by_state", "state", "expires_ms"),
)

customer_requests = Table(
    "customer_requests",
    metadata,
    # What was asked of a 2.0.1 charger about one customer; what it told stands in `reports`.
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("request_id", Integer, nullable=False),
    Column("state", Text, nullable=False),  # asked, accepted, refused, done
    Column("status", Text),  # the charger's own last word
    Column("asked", Text, nullable=False),  # CustomerInformationRequest as it stands on the wire
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("customer_requests_by_station", "station", "request_id"),
)

monitors = Table(
    "monitors",
    metadata,
    Column("station", Text, primary_key=True),
    Column("monitor_id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),  # Component.Variable, as in configuration
    Column("type", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("origin", Text, nullable=False),  # csms: we set it; reported: it was there
    Column("data", Text, nullable=False, default="{}"),
    Column("updated_ms", BigInteger, nullable=False),
)

station_events = Table(
    "station_events",
    metadata,
    # What chargers notify of themselves: events of the device model (2.0.1), security events (both versions).
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),  # derived from the report and its place in it
    Column("station", Text, nullable=False),
    Column("kind", Text, nullable=False),  # event, security
    Column("name", Text, nullable=False),  # Component.Variable, or the kind of security event
    Column("severity", Integer, nullable=False),  # 0 danger … 9 debug (2.0.1 N07)
    Column("value", Text),
    Column("trigger", Text),
    Column("cleared", Integer, nullable=False, default=0),
    Column("monitor_id", Integer),
    Column("at_ms", BigInteger),  # the charger's own time
    Column("received_ms", BigInteger, nullable=False),
    Column("data", Text, nullable=False, default="{}"),  # the event as it stood on the wire
    Index("station_events_by_station", "station", "no"),
)

availability = Table(
    "availability",
    metadata,
    # What an operator wants of a charger or a part of it, and what the charger said to that.
    Column("station", Text, primary_key=True),
    Column("evse", Integer, primary_key=True, autoincrement=False),  # 0/0: the whole charger; n/0: an EVSE (2.0.1)
    Column("connector", Integer, primary_key=True, autoincrement=False),
    Column("wanted", Text, nullable=False),  # Operative, Inoperative
    Column("answer", Text),  # Accepted, Scheduled, Rejected; None: not answered yet
    Column("since_ms", BigInteger, nullable=False),  # when it was first wanted
    Column("answered_ms", BigInteger),
)

display_messages = Table(
    "display_messages",
    metadata,
    Column("station", Text, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),  # asked, shown, refused, cleared
    Column("detail", Text),
    Column("data", Text, nullable=False),  # MessageInfo as it stands on the wire
    Column("updated_ms", BigInteger, nullable=False),
)
