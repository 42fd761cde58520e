"""Digests of notifications, and sessions that have fallen silent."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. ``entries``: sequences of what a digest holds; NULL where a delivery is one notification by itself."""
    op.execute("ALTER TABLE notification_rules ADD COLUMN digest_seconds integer NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE notification_deliveries ADD COLUMN entries bigint[]")
    op.execute(
        "CREATE INDEX notification_digests_open ON notification_deliveries (rule_id)"
        " WHERE state = 1 AND attempts = 0 AND entries IS NOT NULL"
    )
    op.execute("""
        CREATE TABLE session_silences (
            session_id uuid PRIMARY KEY REFERENCES forward_test_sessions ON DELETE CASCADE,
            number bigint NOT NULL CHECK (number > 0),
            tick_sequence bigint NOT NULL,
            since_ns bigint NOT NULL,
            silent boolean NOT NULL
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE session_silences")
    op.execute("DROP INDEX notification_digests_open")
    op.execute("ALTER TABLE notification_deliveries DROP COLUMN entries")
    op.execute("ALTER TABLE notification_rules DROP COLUMN digest_seconds")
