"""The bars that charts of sessions are drawn on: once a symbol and interval, however many sessions trade on them."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Times are nanoseconds since the epoch; an interval of 0 is that of a feed of bars."""
    op.execute("""
        CREATE TABLE chart_places (
            symbol varchar(32) NOT NULL,
            interval_ns bigint NOT NULL CHECK (interval_ns >= 0),
            log_partition integer NOT NULL,
            next_offset bigint NOT NULL,
            last_tick_sequence bigint NOT NULL,
            feed_epoch bigint NOT NULL,
            builder jsonb NOT NULL,
            PRIMARY KEY (symbol, interval_ns)
        )
    """)
    op.execute("""
        CREATE TABLE chart_data (
            symbol varchar(32) NOT NULL,
            interval_ns bigint NOT NULL,
            start_ns bigint NOT NULL,
            open decimal(20, 8) NOT NULL,
            high decimal(20, 8) NOT NULL,
            low decimal(20, 8) NOT NULL,
            close decimal(20, 8) NOT NULL,
            volume double precision NOT NULL,
            closed_offset bigint NOT NULL,
            closed_sequence bigint NOT NULL,
            PRIMARY KEY (symbol, interval_ns, start_ns),
            FOREIGN KEY (symbol, interval_ns) REFERENCES chart_places ON DELETE CASCADE
        )
    """)
    op.execute("CREATE INDEX forward_test_sessions_symbol ON forward_test_sessions (symbol)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX forward_test_sessions_symbol")
    op.execute("DROP TABLE chart_data, chart_places")
