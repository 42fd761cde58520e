"""Users, the event log and the leases of market data writers."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables that everything else refers to."""
    op.execute("CREATE TABLE users (user_id uuid PRIMARY KEY, create_time timestamptz NOT NULL DEFAULT now())")
    op.execute("""
        CREATE TABLE bus_partitions (
            topic text NOT NULL,
            partition integer NOT NULL CHECK (partition >= 0),
            earliest_offset bigint NOT NULL DEFAULT 0,
            next_offset bigint NOT NULL DEFAULT 0 CHECK (next_offset >= earliest_offset),
            PRIMARY KEY (topic, partition)
        )
    """)
    op.execute("""
        CREATE TABLE bus_log (
            topic text NOT NULL,
            partition integer NOT NULL,
            "offset" bigint NOT NULL,
            key text NOT NULL,
            payload bytea NOT NULL,
            headers jsonb NOT NULL,
            write_time timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (topic, partition, "offset"),
            FOREIGN KEY (topic, partition) REFERENCES bus_partitions ON DELETE CASCADE
        )
    """)
    op.execute("""
        CREATE TABLE symbol_leases (
            symbol text PRIMARY KEY,
            epoch bigint NOT NULL,
            last_sequence bigint NOT NULL DEFAULT 0,
            last_event_ns bigint NOT NULL DEFAULT 0,
            last_price bigint NOT NULL DEFAULT 0,
            lease_time timestamptz NOT NULL DEFAULT now()
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE symbol_leases, bus_log, bus_partitions, users")
