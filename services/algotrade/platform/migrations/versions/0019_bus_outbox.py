"""Messages that wait for the commit of what they tell of, where the event bus is not in the database."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE bus_outbox (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic text NOT NULL,
            partitions integer NOT NULL,
            key text NOT NULL,
            payload bytea NOT NULL,
            headers jsonb NOT NULL
        )
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE bus_outbox")
