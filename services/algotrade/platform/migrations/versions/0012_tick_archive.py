"""Ticks that sessions have seen, kept when the log no longer holds them; and what the log must still hold."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. A segment covers a range of offsets of one symbol, be it that nothing lies in it."""
    op.execute("""
        CREATE TABLE bus_holds (
            topic text NOT NULL,
            partition integer NOT NULL,
            holder text NOT NULL,
            next_offset bigint NOT NULL,
            PRIMARY KEY (topic, partition, holder)
        )
    """)
    op.execute("""
        CREATE TABLE tick_segments (
            partition integer NOT NULL,
            symbol varchar(32) NOT NULL,
            first_offset bigint NOT NULL,
            end_offset bigint NOT NULL,
            records integer NOT NULL,
            ticks integer NOT NULL,
            packed bytea NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (partition, symbol, first_offset),
            CHECK (first_offset < end_offset)
        )
    """)
    op.execute("ALTER TABLE tick_segments ALTER packed SET STORAGE EXTERNAL")  # it is compressed already
    op.execute("CREATE INDEX forward_test_sessions_ticks ON forward_test_sessions (log_partition, symbol)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX forward_test_sessions_ticks")
    op.execute("DROP TABLE tick_segments, bus_holds")
