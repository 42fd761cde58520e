"""What sessions subscribe to by themselves: a row while they go on."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, with the sessions that go on now."""
    op.execute("""
        CREATE TABLE session_subscriptions (
            session_id uuid PRIMARY KEY REFERENCES forward_test_sessions ON DELETE CASCADE,
            symbol varchar(32) NOT NULL
        )
    """)
    op.execute("CREATE INDEX session_subscriptions_symbol ON session_subscriptions (symbol)")
    op.execute("""
        INSERT INTO session_subscriptions (session_id, symbol)
        SELECT session_id, symbol FROM forward_test_sessions WHERE status NOT IN ('created', 'stopped', 'halted')
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE session_subscriptions")
