"""What a session's past is proven by: where it began to read, and rows from which it can be replayed."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it. Where a session began before this revision is not known: it has no begin_offset."""
    op.execute("""
        ALTER TABLE forward_test_sessions
            ADD begin_offset bigint,
            ADD segment integer NOT NULL DEFAULT 1 CHECK (segment > 0),
            ADD feed_state smallint NOT NULL DEFAULT 1 CHECK (feed_state BETWEEN 1 AND 3)
    """)
    op.execute("ALTER TABLE session_commands ADD segment integer")
    op.execute("UPDATE session_commands SET segment = 1 WHERE log_offset IS NOT NULL")
    op.execute("""
        CREATE TABLE session_checkpoints (
            session_id uuid NOT NULL REFERENCES forward_test_sessions ON DELETE CASCADE,
            segment integer NOT NULL,
            opens boolean NOT NULL,
            reason text NOT NULL,
            ended_offset bigint,
            log_partition integer NOT NULL,
            log_offset bigint NOT NULL,
            orders_from bigint NOT NULL,
            feed_epoch bigint NOT NULL,
            feed_state smallint NOT NULL,
            status session_status NOT NULL,
            last_sequence bigint NOT NULL,
            last_tick_sequence bigint NOT NULL,
            warmup_events bigint NOT NULL,
            book jsonb NOT NULL,
            state bytea,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (session_id, segment, opens)
        )
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE session_checkpoints")
    op.execute("ALTER TABLE session_commands DROP segment")
    op.execute("ALTER TABLE forward_test_sessions DROP begin_offset, DROP segment, DROP feed_state")
