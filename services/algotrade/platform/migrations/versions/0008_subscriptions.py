"""Who wants which feed, and how long the windows are."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. How many want a feed is the number of its rows."""
    op.execute("""
        CREATE TABLE subscriptions (
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            symbol varchar(32) NOT NULL,
            create_time timestamptz NOT NULL,
            PRIMARY KEY (user_id, symbol)
        )
    """)
    op.execute("CREATE INDEX subscriptions_symbol ON subscriptions (symbol)")
    op.execute("""
        CREATE TABLE symbol_windows (
            symbol varchar(32) PRIMARY KEY,
            ticks integer NOT NULL CHECK (ticks > 0)
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE subscriptions, symbol_windows")
