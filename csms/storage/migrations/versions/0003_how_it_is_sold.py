"""How it is sold: who buys, documents, gateways, catalogues, prices by the hour.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "documents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("party", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("kind", "number"),
        sa.UniqueConstraint("no"),
        sa.UniqueConstraint("token"),
    )
    with op.batch_alter_table("documents", schema=None) as batch_op:
        batch_op.create_index("documents_by_age", ["made_ms"], unique=False)
        batch_op.create_index("documents_by_order", ["order_id"], unique=False)
        batch_op.create_index("documents_by_party", ["kind", "party", "period"], unique=False)

    op.create_table(
        "document_pages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("html", sa.LargeBinary(), nullable=False),
        sa.Column("csv", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "remittances",
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("withheld_minor", sa.BigInteger(), nullable=False),
        sa.Column("left_minor", sa.BigInteger(), nullable=False),
        sa.Column("passes", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("payer", "party", "ref"),
        sa.UniqueConstraint("no"),
    )
    with op.batch_alter_table("remittances", schema=None) as batch_op:
        batch_op.create_index("remittances_by_left", ["left_minor"], unique=False)

    op.create_table(
        "consumers",
        sa.Column("uid_norm", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("consumer_number", sa.Text(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uid_norm"),
    )
    with op.batch_alter_table("revisions", schema=None) as batch_op:
        batch_op.create_index("revisions_by_time", ["at_ms"], unique=False)

    op.create_table(
        "fleets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "gateway_events",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "event_id"),
    )
    with op.batch_alter_table("gateway_events", schema=None) as batch_op:
        batch_op.create_index("gateway_events_by_payment", ["payment_id", "received_ms"], unique=False)
        batch_op.create_index("gateway_events_by_state", ["state", "received_ms"], unique=False)

    op.create_table(
        "gateway_refs",
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("is_hold", sa.Integer(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("remote_payment_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=True),
        sa.Column("checked_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("receipt"),
        sa.UniqueConstraint("no"),
    )
    with op.batch_alter_table("gateway_refs", schema=None) as batch_op:
        batch_op.create_index("gateway_refs_by_next", ["next_ms"], unique=False)
        batch_op.create_index("gateway_refs_by_payment", ["payment_id"], unique=False)
        batch_op.create_index("gateway_refs_by_remote", ["remote_id"], unique=False)

    op.create_table(
        "homes",
        sa.Column("subscriber_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subscriber_id"),
    )
    with op.batch_alter_table("homes", schema=None) as batch_op:
        batch_op.create_index("homes_by_kind", ["kind"], unique=False)

    op.create_table(
        "identities",
        sa.Column("name_hash", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("apart", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name_hash", "card"),
    )
    with op.batch_alter_table("identities", schema=None) as batch_op:
        batch_op.create_index("identities_by_card", ["card"], unique=False)
        batch_op.create_index("identities_by_order", ["order_id"], unique=False)

    op.create_table(
        "otps",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("sent_to", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "purpose"),
    )
    with op.batch_alter_table("otps", schema=None) as batch_op:
        batch_op.create_index("otps_by_phone", ["sent_to", "made_ms"], unique=False)

    op.create_table(
        "price_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("starts_ms", sa.BigInteger(), nullable=False),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("price_events", schema=None) as batch_op:
        batch_op.create_index("price_events_by_state", ["state", "starts_ms"], unique=False)

    op.create_table(
        "publications",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("catalog_id", sa.Text(), nullable=False),
        sa.Column("outbox_no", sa.BigInteger(), nullable=True),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("results", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("answered_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("message_id"),
        sa.UniqueConstraint("no"),
    )
    op.create_index("publications_by_catalog", "publications", ["catalog_id", "no"], unique=False)
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("bap_id", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("ref_id", sa.Text(), nullable=False),
        sa.Column("ref_type", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("bap_id", "transaction_id", "ref_id"),
        sa.UniqueConstraint("no"),
    )
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.create_index("tickets_by_state", ["state", "no"], unique=False)

    op.create_table(
        "trackers",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("order_id"),
    )
    with op.batch_alter_table("trackers", schema=None) as batch_op:
        batch_op.create_index("trackers_by_state", ["state", "next_ms"], unique=False)

    with op.batch_alter_table("ratings", schema=None) as batch_op:
        batch_op.create_index("ratings_by_subject", ["subject", "at_ms"], unique=False)

    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fleet_id", sa.Text(), nullable=True))
        batch_op.create_index("orders_by_fleet", ["fleet_id", "created_ms"], unique=False)

    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("outbox_by_state")
        batch_op.create_index("outbox_by_conversation", ["bap_id", "transaction_id", "state"], unique=False)
        batch_op.create_index("outbox_in_line", ["state", "bap_id", "next_ms"], unique=False)
    # From now on only the first of a conversation waits; the others stand behind it.
    op.execute(
        "UPDATE outbox SET state='behind' WHERE state='waiting' AND EXISTS (SELECT 1 FROM outbox AS first"
        " WHERE first.bap_id=outbox.bap_id AND first.transaction_id=outbox.transaction_id"
        " AND first.state IN ('waiting', 'behind') AND first.no<outbox.no)"
    )


def downgrade() -> None:
    """Migrations only go forward: restore the backup instead."""
    raise RuntimeError("restore the backup that was made before the migration")
